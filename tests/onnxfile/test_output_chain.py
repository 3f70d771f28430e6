"""What is between a convolution and an output: a sigmoid, peaks, or something else."""

import numpy as np
import pytest

from centernet.onnxfile.graph import Graph, Node, Value
from centernet.onnxfile.output_chain import chain_before


def chain(*nodes, output='hm'):
    """A convolution from image to logits, and nodes behind it."""
    graph = Graph(11)
    graph.inputs = [Value('image', np.dtype('f4'), (1, 3, 8, 8))]
    graph.initializers.update(w=np.zeros((2, 3, 1, 1), np.float32), half=np.float32(0.5))
    graph.nodes = [Node('Conv', ['image', 'w'], ['logits']), *nodes]
    graph.outputs = [Value(output, np.dtype('f4'), (1, 2, 8, 8))]
    return chain_before(graph, output)


SIGMOID = Node('Sigmoid', ['logits'], ['heat'])


@pytest.mark.parametrize(
    'nodes, is_probability, only_peaks',
    [
        ([Node('Identity', ['logits'], ['hm'])], False, False),
        ([Node('Clip', ['logits', 'half'], ['hm'])], False, False),
        ([Node('Sigmoid', ['logits'], ['hm'])], True, False),
        ([SIGMOID, Node('Clip', ['heat', 'half'], ['hm'])], True, False),
        ([SIGMOID, Node('Cast', ['heat'], ['hm'])], True, False),
        (
            [
                SIGMOID,
                Node('MaxPool', ['heat'], ['top']),
                Node('Equal', ['top', 'heat'], ['same']),
                Node('Where', ['same', 'heat', 'half'], ['hm']),
            ],
            True,
            True,
        ),
        (
            [
                Node('Neg', ['logits'], ['a']),
                Node('Exp', ['a'], ['b']),
                Node('Add', ['b', 'half'], ['c']),
                Node('Reciprocal', ['c'], ['hm']),
            ],
            True,
            False,
        ),
    ],
)
def test_probabilities_and_peaks(nodes, is_probability, only_peaks):
    found = chain(*nodes)
    assert found.convolution.outputs == ['logits']
    assert (found.is_probability, found.only_peaks) == (is_probability, only_peaks)


def test_the_convolution_itself_is_the_output():
    found = chain(output='logits')
    assert found.convolution is not None and not found.nodes and not found.is_probability


@pytest.mark.parametrize(
    'nodes',
    [
        [Node('Softplus', ['logits'], ['hm'])],
        [Node('Sigmoid', ['logits'], ['heat']), Node('Softmax', ['heat'], ['hm'])],
        [Node('Sigmoid', ['image'], ['hm'])],
        [Node('Conv', ['image', 'w'], ['other']), Node('Add', ['logits', 'other'], ['hm'])],
        [Node('Sigmoid', ['logits'], ['hm'], domain='somebody')],
    ],
)
def test_what_is_not_understood_has_no_convolution(nodes):
    found = chain(*nodes)
    assert found.convolution is None and not found.is_probability
