"""ONNX files as data: read without trust, edited as a graph, written whole."""
