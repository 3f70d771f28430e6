"""ONNX files as data: read without trusting them, edited as graphs, written whole or not at all."""
