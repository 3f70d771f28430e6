"""The exports of the same checkpoint by the two stacks.

Two graphs are the same if, node by node in topological order, operators and attributes are equal, inputs come
from the same places (the graph's input, the n-th output of the m-th node, or an initializer), and
initializers have equal types, shapes and values (within TOLERANCE of the largest); and if opset and the
shapes of input and outputs are equal. Names may differ.
"""

import numpy as np
import pytest
from support.random_weights import save_checkpoint
from support.stacks import PYTHONS, needs_both_stacks, run

from centernet.networks.runtimes import open_network
from centernet.networks.runtimes.onnx_runtime import HAS_DEFORM_CONV
from centernet.onnxfile import graph

pytestmark = needs_both_stacks

TARGETS = ('ascend', 'tensorrt', 'onnx', 'portable')
TOLERANCE = 1e-6
SIZE = 64


@pytest.fixture(scope='module', params=['dla_tiny', 'res_18', 'resdcn_18', 'dlav0_34'])
def files(request, tmp_path_factory):
    """stack -> target -> the exported file of one checkpoint."""
    folder = tmp_path_factory.mktemp(request.param)
    weights = save_checkpoint(folder / 'net.pth', request.param, {'hm': 3, 'wh': 2, 'reg': 2}, SIZE)
    for stack in PYTHONS:
        words = ['--weights', weights, '--target', 'all', '--output', str(folder / stack)]
        run(stack, '-m', 'centernet', 'export', *words)
    names = {target: 'net.onnx' if target == 'ascend' else f'net_{target}.onnx' for target in TARGETS}
    return {
        stack: {target: str(folder / stack / name) for target, name in names.items()} for stack in PYTHONS
    }


def structure(found):
    """Return everything that must be equal in two graphs, and the initializers in the order of use."""
    nodes = found.sorted_nodes()
    places = {value.name: ('input', i) for i, value in enumerate(found.inputs)}
    places.update(
        (name, (number, i)) for number, node in enumerate(nodes) for i, name in enumerate(node.outputs)
    )
    weights = []

    def place(name):
        if name in found.initializers:
            weights.append(found.initializers[name])
            return 'initializer', len(weights) - 1
        return places[name] if name else None

    wiring = [
        (
            node.domain,
            node.op_type,
            sorted((key, repr(value)) for key, value in node.attributes.items()),
            [place(name) for name in node.inputs],
        )
        for node in nodes
    ]
    ends = [(value.dtype, value.shape, places[value.name]) for value in found.inputs + found.outputs]
    return (found.opset, ends, wiring), weights


@pytest.mark.parametrize('target', TARGETS)
def test_the_graphs_are_the_same(target, files):
    (modern, modern_weights), (pinned, pinned_weights) = (
        structure(graph.load(files[stack][target])) for stack in ('modern', 'pinned')
    )
    assert modern == pinned
    assert len(modern_weights) == len(pinned_weights) > 40
    for one, other in zip(modern_weights, pinned_weights):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert not one.size or np.abs(one - other).max() <= TOLERANCE * np.abs(other).max()


@pytest.mark.parametrize('target', TARGETS)
def test_the_values_are_the_same(target, files):
    if target == 'onnx' and not HAS_DEFORM_CONV:
        pytest.skip('DeformConv needs onnxruntime >= 1.26; the modern stack runs this test')
    x = np.random.RandomState(3).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
    modern, pinned = (open_network(files[stack][target], 'cpu', 1)(x) for stack in ('modern', 'pinned'))
    for one, other in zip(modern, pinned):
        assert (one - other).abs().max() <= TOLERANCE * other.abs().max()


def test_a_difference_is_found(files):
    """The comparison can fail: swapped inputs, another attribute, another opset."""
    path = files['modern']['portable']
    expected = structure(graph.load(path))[0]
    for change in (
        lambda found: found.find('Add')[0].inputs.reverse(),
        lambda found: found.find('MaxPool')[0].attributes.update(strides=[1, 2]),
        lambda found: setattr(found, 'opset', 12),
    ):
        found = graph.load(path)
        change(found)
        assert structure(found)[0] != expected
