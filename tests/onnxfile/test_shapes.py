"""Shapes and constants that are known before a graph runs."""

import numpy as np
from support.chains import chain, draw
from support.one_convolution import run as run_first

from centernet.onnxfile.graph import Node
from centernet.onnxfile.shapes import examine


def test_shapes_are_those_that_come_out():
    graph = chain(
        Node(
            'Conv',
            ['x', 'w'],
            ['a'],
            [('kernel_shape', [3, 3]), ('pads', [1, 1, 1, 1]), ('strides', [2, 1]), ('dilations', [1, 1])],
        ),
        Node('MaxPool', ['a'], ['b'], [('kernel_shape', [3, 2]), ('strides', [2, 2]), ('ceil_mode', 1)]),
        Node(
            'ConvTranspose',
            ['b', 't'],
            ['c'],
            [('kernel_shape', [4, 4]), ('strides', [2, 2]), ('pads', [1, 1, 1, 1]), ('group', 2)],
        ),
        Node('Upsample', ['c', 'scales'], ['d'], [('mode', 'nearest')]),
        Node('Concat', ['d', 'd'], ['e'], [('axis', 1)]),
        Node('Add', ['e', 'bias'], ['f']),
        Node('Transpose', ['f'], ['g'], [('perm', [0, 2, 3, 1])]),
        Node('Relu', ['g'], ['y']),
        opset=10,
        shape=(1, 4, 12, 10),
        w=draw(6, 4, 3, 3),
        t=draw(6, 2, 4, 4),
        scales=np.array([1, 1, 2, 3], np.float32),
        bias=draw(8, 1, 1),
    )
    graph.nodes[3].op_type = 'Resize'
    assert examine(graph).shapes['y'] == run_first(graph, {'x': draw(1, 4, 12, 10)}).shape


def test_an_open_batch_stays_open_through_reshapes():
    graph = chain(
        Node('Reshape', ['x', 'flat'], ['a']),
        Node('Concat', ['a', 'a'], ['b'], [('axis', 1)]),
        Node('Shape', ['b'], ['s']),
        Node('Transpose', ['b'], ['y'], [('perm', [1, 0])]),
        shape=('n', 4, 6, 8),
        flat=np.array([0, -1]),
    )
    facts = examine(graph)
    assert (facts.shapes['a'], facts.shapes['y'], 's' in facts.constants) == (('n', 192), (384, 'n'), False)
