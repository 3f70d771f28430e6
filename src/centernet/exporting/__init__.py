"""Export a checkpoint to ONNX files: trace once, clean, and write one file per target."""
