"""CenterNet (Objects as Points): evaluate a checkpoint, export it to ONNX, and prove that the export detects
the same things."""

__version__ = '0.1.0'
