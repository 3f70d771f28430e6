"""Conversion between opsets: the same values, or a refusal."""

import numpy as np
import onnx
import pytest
from support.chains import F32, chain, draw
from support.one_convolution import run as run_first

from centernet.onnxfile.graph import Node, Value
from centernet.onnxfile.opsets import lower_opset, raise_opset
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


@pytest.mark.parametrize('opset', [9, 11])
def test_what_became_inputs_becomes_attributes_again(opset):
    """There and back: the same values, and a file that ONNX's checker takes."""
    graph = chain(
        Node('Unsqueeze', ['x'], ['e'], [('axes', [1])]),
        Node('Squeeze', ['e'], ['f'], [('axes', [1])]),
        Node('Split', ['f'], ['g', 'h'], [('axis', 1), ('split', [1, 3])]),
        Node('Clip', ['h'], ['c'], [('min', -0.5), ('max', 0.5)]),
        Node('ReduceSum', ['c'], ['i'], [('axes', [1])]),
        Node('Add', ['i', 'g'], ['y']),
    )
    expected = run_first(graph, {'x': draw(1, 4, 6, 8)})
    raise_opset(graph, 13)
    lower_opset(graph, opset)
    graph.remove_dead()
    graph.outputs = [Value('y', F32, (1, 1, 6, 8))]
    onnx.checker.check_model(graph.to_model())
    assert graph.opset == opset and np.array_equal(run_first(graph, {'x': draw(1, 4, 6, 8)}), expected)


def test_an_input_that_is_computed_cannot_become_an_attribute():
    graph = chain(Node('Split', ['x', 'sizes'], ['y', 'z'], [('axis', 1)]), opset=13)
    with pytest.raises(ModelError, match=r'from opset 13 to 11.*Split'):
        lower_opset(graph, 11)
    graph = chain(Node('Split', ['x'], ['y', 'z'], [('axis', 1), ('num_outputs', 2)]), opset=18)
    with pytest.raises(ModelError, match='Split'):
        lower_opset(graph, 11)


def test_an_opset_is_refused_where_an_operator_is_not_known_or_has_changed():
    graph = chain(Node('Hardmax', ['x'], ['y']))
    with pytest.raises(ModelError, match=r'from opset 9 to 11.*Hardmax'):
        raise_opset(graph, 11)
    graph = chain(Node('Resize', ['x'], ['y']), opset=11)
    with pytest.raises(ModelError, match=r'from opset 11 to 9.*Resize'):
        lower_opset(graph, 9)
    with pytest.raises(ModelError, match='flattens'):
        raise_opset(chain(Node('Softmax', ['x'], ['y'])), 13)
    graph = chain(Node('Relu', ['x'], ['y']), opset=13)
    lower_opset(graph, 9)
    assert graph.opset == 9
