"""Small graphs of a chain of nodes."""

import numpy as np

from centernet.onnxfile.graph import Graph, Value

F32 = np.dtype(np.float32)


def draw(*shape):
    return np.random.RandomState(1).standard_normal(shape).astype(np.float32)


def chain(*nodes, opset=9, shape=(1, 4, 6, 8), **initializers):
    """A graph from ``x`` through nodes to ``y``."""
    graph = Graph(opset)
    graph.inputs, graph.outputs = [Value('x', F32, shape)], [Value('y', F32, None)]
    graph.initializers.update(initializers)
    graph.nodes = list(nodes)
    return graph
