"""The passes one by one: folding keeps the values, and what cannot be folded stays."""

import numpy as np
import onnxruntime
import pytest
import torch
from support.chains import F32, chain, draw
from support.one_convolution import CENTERNETS, make
from support.one_convolution import run as run_first
from torch import nn

from centernet.exporting import passes
from centernet.exporting.offsets import fold_offset_order
from centernet.onnxfile import deform_conv
from centernet.onnxfile.decompose import decompose
from centernet.onnxfile.graph import Node, Value
from centernet.onnxfile.opsets import raise_opset
from centernet.system.errors import ModelError

MODERN = tuple(map(int, onnxruntime.__version__.split('.')[:2])) >= (1, 26)


def types(graph):
    return [node.op_type for node in graph.nodes]


# BatchNormalization


def convolution_of(kind, groups, bias):
    layer = {
        'Conv': nn.Conv2d(4, 6, 3, padding=1, groups=groups, bias=bias),
        'ConvTranspose': nn.ConvTranspose2d(4, 6, 4, 2, 1, groups=groups, bias=bias),
    }[kind]
    norm = nn.BatchNorm2d(6).eval()
    norm.weight.data.uniform_(0.5, 2)
    norm.bias.data.normal_()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.1, 2)
    arrays = dict(
        zip(('s', 'h', 'm', 'v'), (norm.weight, norm.bias, norm.running_mean, norm.running_var)),
        **{'c.weight': layer.weight},
    )
    if bias:
        arrays['c.bias'] = layer.bias
    attributes = [
        ('kernel_shape', list(layer.kernel_size)),
        ('pads', [1] * 4),
        ('strides', list(layer.stride)),
        ('group', groups),
    ]
    graph = chain(
        Node(kind, ['x', 'c.weight'] + ['c.bias'] * bias, ['c'], attributes),
        Node('BatchNormalization', ['c', 's', 'h', 'm', 'v'], ['y'], [('epsilon', norm.eps)]),
        **{name: array.detach().numpy() for name, array in arrays.items()},
    )
    return graph, nn.Sequential(layer, norm)


@pytest.mark.parametrize('kind', ['Conv', 'ConvTranspose'])
@pytest.mark.parametrize('groups', [1, 2])
@pytest.mark.parametrize('bias', [False, True])
def test_batch_norm_goes_into_the_convolution(kind, groups, bias):
    graph, layers = convolution_of(kind, groups, bias)
    passes.clean(graph)
    assert types(graph) == [kind] and set(graph.initializers) == {'c.weight', 'c.bias'}
    x = draw(1, 4, 6, 8)
    with torch.no_grad():
        expected = layers(torch.from_numpy(x)).numpy()
    assert np.abs(run_first(graph, {'x': x}) - expected).max() < 1e-5
    assert graph.nodes[0].name == 'c'


@pytest.mark.parametrize('spelling', ['onnx', 'ascend', 'tensorrt'])
def test_batch_norm_goes_into_every_spelling_of_the_deformable_convolution(spelling):
    graph, feeds, expected = make(CENTERNETS)
    deform_conv.rewrite(graph, spelling)
    scale, shift, mean, variance = (np.abs(draw(5)) + 0.1 * i for i in range(4))
    graph.initializers.update(s=scale, h=shift, m=mean, v=variance)
    graph.nodes.append(Node('BatchNormalization', ['y', 's', 'h', 'm', 'v'], ['z']))
    graph.outputs = [graph.outputs[0]._replace(name='z')]
    passes.fold_batch_norm(graph)
    assert 'BatchNormalization' not in types(graph)
    graph.opset = 11
    decompose(graph)
    column = (slice(None), np.newaxis, np.newaxis)
    expected = (expected - mean[column]) / np.sqrt(variance[column] + 1e-5) * scale[column] + shift[column]
    assert np.abs(run_first(graph, feeds) - expected).max() < 1e-5 * np.abs(expected).max()


def test_batch_norm_stays_where_the_convolution_has_another_reader():
    graph, _ = convolution_of('Conv', 1, True)
    graph.nodes += [Node('Relu', ['c'], ['r']), Node('Add', ['y', 'r'], ['z'])]
    graph.outputs = [Value('z', F32, None)]
    passes.clean(graph)
    assert 'BatchNormalization' in types(graph)


def test_a_shared_weight_is_not_changed_for_its_other_reader():
    graph, _ = convolution_of('Conv', 1, False)
    graph.nodes += [
        Node('Conv', ['x', 'c.weight'], ['d'], graph.nodes[0].attributes),
        Node('Add', ['y', 'd'], ['z']),
    ]
    graph.outputs = [Value('z', F32, None)]
    before, x = graph.copy(), draw(1, 4, 6, 8)
    passes.clean(graph)
    assert (
        types(graph) == ['Conv', 'Conv', 'Add']
        and len({name for node in graph.nodes[:2] for name in node.inputs}) == 4
    )
    assert np.abs(run_first(graph, {'x': x}) - run_first(before, {'x': x})).max() < 1e-5


# Constants, identities, names


def test_arithmetic_on_sizes_becomes_constant():
    graph = chain(
        Node('Shape', ['x'], ['s']),
        Node('Gather', ['s', 'two'], ['h'], [('axis', 0)]),
        Node('Unsqueeze', ['h'], ['h1'], [('axes', [0])]),
        Node('Constant', [], ['m'], [('value', np.array([-1]))]),
        Node('Concat', ['m', 'h1', 'four'], ['shape'], [('axis', 0)]),
        Node('Reshape', ['x', 'shape'], ['y']),
        two=np.array(2),
        four=np.array([4]),
    )
    expected = run_first(graph, {'x': draw(1, 4, 6, 8)})
    passes.clean(graph)
    assert types(graph) == ['Reshape']
    assert [array.tolist() for array in graph.initializers.values()] == [[-1, 6, 4]]
    assert np.array_equal(run_first(graph, {'x': draw(1, 4, 6, 8)}), expected)


def test_identities_go_wherever_they_are():
    graph = chain(
        Node('Identity', ['x'], ['a']),
        Node('Relu', ['a'], ['b']),
        Node('Dropout', ['b'], ['c'], [('ratio', 0.5)]),
        Node('Abs', ['c'], ['d']),
        Node('Identity', ['d'], ['y']),
    )
    passes.clean(graph)
    assert [(node.op_type, node.inputs) for node in graph.nodes] == [
        ('Relu', ['x']),
        ('Abs', [graph.nodes[0].outputs[0]]),
    ]
    assert graph.nodes[1].outputs == ['y']


def test_an_input_may_go_out_again():
    graph = chain(Node('Identity', ['x'], ['y']))
    passes.clean(graph)
    assert types(graph) == ['Identity']


def test_names_say_which_module_a_node_is_of():
    weight = draw(4, 4, 1, 1)
    graph = chain(
        Node('Conv', ['x', 'base.0.weight'], ['1'], doc_string='/home/me/net.py(3)'),
        Node('Relu', ['1'], ['2']),
        Node('Conv', ['2', 'base.2.weight'], ['3']),
        Node('Relu', ['3'], ['4']),
        Node('Add', ['4', '2'], ['5']),
        Node('Relu', ['5'], ['y']),
        **{'base.0.weight': weight, 'base.2.weight': weight},
    )
    passes.clean(graph)
    assert [node.name for node in graph.nodes] == [
        'base.0',
        'base.0/Relu',
        'base.2',
        'base.2/Relu',
        'base.2/Add',
        'base.2/Relu_2',
    ]
    assert [node.outputs[0] for node in graph.nodes[:-1]] == [node.name for node in graph.nodes[:-1]]
    assert list(graph.initializers) == ['base.0.weight', 'base.2.weight']
    assert not any(node.doc_string for node in graph.nodes)


def test_names_are_numbers_where_the_weights_names_are():
    graph = chain(
        Node('Conv', ['x', '1'], ['7']),
        Node('Relu', ['7'], ['8']),
        Node('Conv', ['8', '2'], ['y']),
        **{'1': draw(4, 4, 1, 1), '2': draw(4, 4, 1, 1)},
    )
    passes.clean(graph)
    assert [node.name for node in graph.nodes] == ['Conv_0', 'Relu_1', 'Conv_2']
    assert list(graph.initializers) == ['Conv_0.weight', 'Conv_2.weight']


# The offsets' order


def predicted(*nodes, predictor=27, opset=9, **initializers):
    """x -> a convolution of ``predictor`` channels ``p`` -> nodes that make ``o`` and ``m`` (or ``packed``)
    -> DeformConv."""
    weights = {
        'predict.weight': draw(predictor, 4, 3, 3),
        'predict.bias': draw(predictor),
        'w': draw(2, 4, 3, 3),
        'b': draw(2),
    }
    same = [('kernel_shape', [3, 3]), ('pads', [1, 1, 1, 1])]
    packed = any('packed' in node.outputs for node in nodes)
    last = (
        Node('DeformableConv2D', ['x', 'w', 'packed', 'b'], ['y'], [('pads', 1)])
        if packed
        else Node('DeformConv', ['x', 'w', 'o', 'b', 'm'], ['y'], same)
    )
    first = Node('Conv', ['x', 'predict.weight', 'predict.bias'], ['p'], same)
    return chain(first, *nodes, last, opset=opset, **dict(weights, **initializers))


def decomposed_values(graph):
    graph = graph.copy()
    decompose(graph)
    return run_first(graph, {'x': draw(1, 4, 6, 8)})


SPLIT = Node('Split', ['p'], ['o', 'l'], [('axis', 1), ('split', [18, 9])])
SIGMOID = Node('Sigmoid', ['l'], ['m'])


def reordered(first, second, size=(1, -1, 2, 6, 8)):
    """The sample's nodes: offsets as pairs, ``first`` and ``second`` of each pair, mask, in one tensor."""
    return [
        SPLIT.copy(),
        SIGMOID.copy(),
        Node('Reshape', ['o', 'pairs'], ['q']),
        Node('Slice', ['q'], ['q0'], [('axes', [2]), ('starts', [first]), ('ends', [first + 1])]),
        Node('Slice', ['q'], ['q1'], [('axes', [2]), ('starts', [second]), ('ends', [second + 1])]),
        Node('Squeeze', ['q0'], ['s0'], [('axes', [2])]),
        Node('Squeeze', ['q1'], ['s1'], [('axes', [2])]),
        Node('Concat', ['s0', 's1', 'm'], ['packed'], [('axis', 1)]),
    ], {'pairs': np.array(size)}


@pytest.mark.parametrize('first, second', [(1, 0), (0, 1)])
def test_a_reordering_becomes_the_order_of_the_weights(first, second):
    nodes, arrays = reordered(first, second)
    graph = predicted(*nodes, **arrays)
    before, weight = decomposed_values(graph), graph.initializers['predict.weight']
    passes.clean(graph)
    assert types(graph) == ['Conv', 'Split', 'Sigmoid', 'Concat', 'DeformableConv2D']
    order = list(range(first, 18, 2)) + list(range(second, 18, 2)) + list(range(18, 27))
    assert np.array_equal(graph.initializers['predict.weight'], weight[order])
    assert np.abs(decomposed_values(graph) - before).max() < 1e-5
    passes.clean(graph)
    assert types(graph) == ['Conv', 'Split', 'Sigmoid', 'Concat', 'DeformableConv2D']


def test_chunks_and_gathers_are_followed_too():
    graph = predicted(
        Node('Split', ['p'], ['o1', 'o2', 'l'], [('axis', 1)]),
        Node('Concat', ['o2', 'o1'], ['oo'], [('axis', 1)]),
        Node('Gather', ['oo', 'order'], ['o'], [('axis', 1)]),
        SIGMOID.copy(),
        order=np.arange(18)[::-1],
    )
    before = decomposed_values(graph)
    passes.clean(graph)
    assert types(graph) == ['Conv', 'Split', 'Sigmoid', 'DeformConv']
    assert np.abs(decomposed_values(graph) - before).max() < 1e-5


def test_two_convolutions_become_one():
    graph = predicted(
        Node('Conv', ['x', 'v', 'c'], ['l'], [('kernel_shape', [3, 3]), ('pads', [1, 1, 1, 1])]),
        SIGMOID.copy(),
        Node('Identity', ['p'], ['o']),
        predictor=18,
        v=draw(9, 4, 3, 3),
        c=draw(9),
    )
    before = decomposed_values(graph)
    passes.clean(graph)
    assert types(graph) == ['Conv', 'Split', 'Sigmoid', 'DeformConv']
    assert np.abs(decomposed_values(graph) - before).max() < 1e-5


@pytest.mark.skipif(not MODERN, reason='needs Split of opset 13 in onnxruntime')
def test_the_split_suits_the_opset():
    graph = predicted(SPLIT.copy(), SIGMOID.copy())
    raise_opset(graph, 19)
    passes.clean(graph)
    assert types(graph) == ['Conv', 'Split', 'Sigmoid', 'DeformConv'] and not graph.find('Split')[
        0
    ].attributes.get('split')
    decomposed_values(graph)


@pytest.mark.parametrize('nodes', [[], [Node('Sigmoid', ['p'], ['q'])]])
def test_a_sigmoid_in_the_wrong_place_is_refused(nodes):
    split = Node('Split', ['q' if nodes else 'p'], ['o', 'm'], SPLIT.attributes)
    with pytest.raises(ModelError, match='mask alone'):
        fold_offset_order(predicted(*nodes, split))


def test_a_wrong_number_of_channels_is_refused():
    graph = predicted(
        Node('Split', ['p'], ['o', 'l'], [('axis', 1), ('split', [16, 9])]), SIGMOID.copy(), predictor=25
    )
    with pytest.raises(ModelError, match=r'25 channels.* 27'):
        fold_offset_order(graph)


@pytest.mark.parametrize(
    'nodes',
    [
        [
            Node('Relu', ['p'], ['q']),
            Node('Split', ['q'], ['o', 'l'], [('axis', 1), ('split', [18, 9])]),
            SIGMOID.copy(),
        ],
        [
            Node('Split', ['p'], ['f', 'l'], SPLIT.attributes),
            SIGMOID.copy(),
            Node('Transpose', ['f'], ['t'], [('perm', [0, 1, 3, 2])]),
            Node('Reshape', ['t', 'back'], ['o']),
        ],
    ],
)
def test_offsets_that_are_computed_otherwise_stay(nodes):
    graph = predicted(*nodes, back=np.array([1, 18, 6, 8]))
    before, kinds = decomposed_values(graph), types(graph)
    fold_offset_order(graph)
    assert types(graph) == kinds
    assert np.array_equal(decomposed_values(graph), before)
