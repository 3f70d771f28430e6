"""Reading, writing and decomposing the spellings of the deformable convolution, against the operator's
reference."""

import numpy as np
import onnx
import onnxruntime
import pytest
from support.one_convolution import BARE, CENTERNETS, STRANGE, make, run

from centernet.onnxfile import deform_conv
from centernet.onnxfile.decompose import decompose
from centernet.onnxfile.graph import Node
from centernet.system.errors import ModelError

HAS_DEFORM_CONV = tuple(map(int, onnxruntime.__version__.split('.')[:2])) >= (1, 26)
CASES = [CENTERNETS, STRANGE, BARE]
TOLERANCE = 1e-5


def decomposed(graph):
    graph.opset = 11
    decompose(graph)
    onnx.checker.check_model(graph.to_model())
    assert not deform_conv.find(graph)
    return graph


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('open_batch', [False, True])
def test_decomposed_values_are_the_references(case, open_batch):
    graph, feeds, expected = make(case, open_batch)
    assert np.abs(run(decomposed(graph), feeds) - expected).max() < TOLERANCE
    assert np.abs(expected).max() > 1


@pytest.mark.skipif(
    not HAS_DEFORM_CONV,
    reason='DeformConv on the CPU came with onnxruntime 1.25, and gives right values from 1.26 on',
)
@pytest.mark.parametrize('case', CASES)
def test_the_operators_values_are_the_references(case):
    graph, feeds, expected = make(case)
    onnx.checker.check_model(graph.to_model())
    assert np.abs(run(graph, feeds) - expected).max() < TOLERANCE


@pytest.mark.parametrize('spelling', ['ascend', 'tensorrt', 'onnx'])
def test_values_survive_every_spelling(spelling):
    graph, feeds, expected = make(CENTERNETS)
    deform_conv.rewrite(graph, spelling)
    assert [deform_conv.spelling_of(node) for node, _ in deform_conv.find(graph)] == [spelling]
    deform_conv.rewrite(graph, 'onnx')
    assert np.abs(run(decomposed(graph), feeds) - expected).max() < TOLERANCE


def test_the_spellings_are_those_that_their_readers_take():
    graph, _, _ = make(CENTERNETS)
    (node,) = graph.find('DeformConv')
    assert node.inputs == ['x', 'w', 'offset', 'b', 'mask']
    assert node.attributes == {
        'kernel_shape': [3, 3],
        'strides': [1, 1],
        'pads': [1, 1, 1, 1],
        'dilations': [1, 1],
        'group': 1,
        'offset_group': 1,
    }
    deform_conv.rewrite(graph, 'tensorrt')
    (node,) = graph.find('DCNv2')
    assert node.inputs == ['x', 'offset', 'mask', 'w', 'b']
    assert node.attributes == {'stride': 1, 'padding': 1, 'dilation': 1, 'groups': 1, 'deformable_group': 1}
    deform_conv.rewrite(graph, 'ascend')
    (node,) = graph.find('DeformableConv2D')
    assert node.inputs[:2] == ['x', 'w'] and node.inputs[3:] == ['b']
    assert node.attributes == {
        'strides': [1, 1],
        'pads': [1, 1],
        'dilations': [1, 1],
        'groups': 1,
        'deformable_groups': 1,
    }


def test_ascends_offsets_are_all_x_all_y_all_masks():
    graph, feeds, _ = make(CENTERNETS)
    deform_conv.rewrite(graph, 'ascend')
    (node,) = graph.find('DeformableConv2D')
    shape = (1, 27) + feeds['mask'].shape[2:]
    graph.nodes.remove(node)
    graph.outputs = [graph.outputs[0]._replace(name=node.inputs[2], shape=shape)]
    graph.inputs = graph.inputs[1:]
    graph.opset = 11
    packed = run(graph, {name: feeds[name] for name in ('offset', 'mask')})
    assert np.array_equal(
        packed, np.concatenate([feeds['offset'][:, 1::2], feeds['offset'][:, ::2], feeds['mask']], axis=1)
    )


@pytest.mark.parametrize(
    'attributes',
    [
        {'strides': 1, 'pads': 1, 'dilations': 1, 'groups': 1, 'deformable_groups': 1},
        {
            'strides': [1, 1, 1, 1],
            'pads': [1, 1, 1, 1],
            'dilations': [1, 1, 1, 1],
            'groups': 1,
            'deformable_groups': 1,
        },
        {'pads': [1, 1], 'groups': 0},
    ],
)
def test_other_attributes_of_one_meaning_are_understood(attributes):
    graph, feeds, expected = make(CENTERNETS)
    deform_conv.rewrite(graph, 'ascend')
    (node,) = graph.find('DeformableConv2D')
    node.attributes = attributes
    deform_conv.rewrite(graph, 'ascend')
    (node,) = graph.find('DeformableConv2D')
    assert node.attributes == {
        'strides': [1, 1],
        'pads': [1, 1],
        'dilations': [1, 1],
        'groups': 1,
        'deformable_groups': 1,
    }
    assert np.abs(run(decomposed(graph), feeds) - expected).max() < TOLERANCE


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda node: node.attributes.update(pads=[1, 1, 0, 0]), 'pads'),
        (lambda node: node.attributes.update(strides=[1, 2, 3]), 'strides'),
        (lambda node: node.attributes.update(strides=['1', '1']), 'strides'),
        (lambda node: node.attributes.update(group=-1), 'groups'),
        (lambda node: node.inputs.__delitem__(slice(1, None)), 'lacks inputs'),
    ],
)
def test_what_has_no_clear_meaning_is_refused(change, message):
    graph, _, _ = make(CENTERNETS)
    change(graph.nodes[0])
    with pytest.raises(ModelError, match=message) as caught:
        deform_conv.find(graph)
    assert 'dcn' in str(caught.value)


@pytest.mark.parametrize(
    'case, spelling, message',
    [
        (STRANGE, 'tensorrt', 'one stride for both directions'),
        (BARE, 'tensorrt', 'needs a mask'),
        (BARE, 'ascend', 'needs a mask'),
    ],
)
def test_what_a_spelling_cannot_express_is_refused(case, spelling, message):
    graph, _, _ = make(case)
    with pytest.raises(ModelError, match=message):
        deform_conv.rewrite(graph, spelling)


def test_a_computed_weight_or_an_unknown_size_cannot_be_decomposed():
    graph, _, _ = make(CENTERNETS)
    graph.inputs[0] = graph.inputs[0]._replace(shape=(1, 4, 'h', 'w'))
    with pytest.raises(ModelError, match='size of its input'):
        decompose(graph)
    graph, _, _ = make(CENTERNETS)
    graph.nodes.insert(0, Node('Identity', ['w'], ['w2']))
    graph.nodes[1].inputs[1] = 'w2'
    with pytest.raises(ModelError, match='weight is computed'):
        decompose(graph)
