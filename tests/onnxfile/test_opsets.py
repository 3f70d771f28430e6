"""Conversion between opsets: the same values, or a refusal."""

import numpy as np
import onnx
import pytest
from support.chains import F32, chain, draw
from support.one_convolution import run as run_first

from centernet.onnxfile.graph import Node, Value
from centernet.onnxfile.opsets import raise_opset
from centernet.system.errors import ModelError


@pytest.mark.parametrize('opset', [11, 13])
def test_operators_of_opset_9_mean_the_same_later(opset):
    graph = chain(
        Node('Upsample', ['x', 'scales'], ['a'], [('mode', 'nearest')]),
        Node('Slice', ['a'], ['b'], [('starts', [1]), ('ends', [9]), ('axes', [3])]),
        Node('Pad', ['b'], ['c'], [('pads', [0, 0, 1, 0, 0, 0, 0, 2]), ('value', 0.5)]),
        Node('Clip', ['c'], ['d'], [('min', -0.5)]),
        Node('Unsqueeze', ['d'], ['e'], [('axes', [1])]),
        Node('Squeeze', ['e'], ['f'], [('axes', [1])]),
        Node('Split', ['f'], ['g', 'h'], [('axis', 1), ('split', [1, 3])]),
        Node('ReduceSum', ['h'], ['i'], [('axes', [1])]),
        Node('Add', ['i', 'g'], ['y']),
        scales=np.array([1, 1, 2, 2], np.float32),
    )
    expected = run_first(graph, {'x': draw(1, 4, 6, 8)})
    raise_opset(graph, opset)
    graph.outputs = [Value('y', F32, (1, 1, 13, 10))]
    onnx.checker.check_model(graph.to_model())
    assert graph.opset == opset and np.array_equal(run_first(graph, {'x': draw(1, 4, 6, 8)}), expected)


def test_an_opset_is_refused_where_an_operator_is_not_known():
    graph = chain(Node('Hardmax', ['x'], ['y']))
    with pytest.raises(ModelError, match=r'from opset 9 to 11.*Hardmax'):
        raise_opset(graph, 11)
