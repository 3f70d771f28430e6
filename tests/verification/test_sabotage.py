"""Exports that are broken on purpose: which stage notices?

Each sabotage changes a correct ascend file of the built-in sample's network in one place, if possible in only
one of the 16 deformable convolutions.
"""

from collections import OrderedDict

import numpy as np
import pytest
import torch

from centernet.coco import CocoData
from centernet.exporting import passes
from centernet.exporting.build import build
from centernet.exporting.exporter import export
from centernet.exporting.targets import TARGETS
from centernet.exporting.trace import trace
from centernet.networks.checkpoint import load_model
from centernet.networks.runtimes import open_network
from centernet.networks.runtimes.torch_runtime import TorchNetwork
from centernet.onnxfile import deform_conv, graph
from centernet.onnxfile.graph import Node
from centernet.options.protocol import Protocol
from centernet.options.selection import Loading, Selection
from centernet.sample import SAMPLE_WEIGHTS, sample_folder
from centernet.verification import format_verification, record_of_both, verify

IMAGES, SIZE = 24, (128, 128)
# One of the 16, in the middle of the network.
WHICH = 8


@pytest.fixture(scope='module')
def loaded():
    return load_model(SAMPLE_WEIGHTS)


@pytest.fixture(scope='module')
def exported(loaded, tmp_path_factory):
    """The correct files: target -> path."""
    folder = str(tmp_path_factory.mktemp('exported'))
    names = ('ascend', 'onnx', 'portable', 'tensorrt')
    paths = [path for path in export(loaded, folder, 'model', names, size=SIZE) if path.endswith('.onnx')]
    return {graph.load(path).metadata['target']: path for path in paths}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return CocoData.load(sample_folder(str(tmp_path_factory.mktemp('data')), IMAGES))


@pytest.fixture
def outcome(loaded, data, tmp_path):
    """A function: path of a file -> (dict of stage -> outcome, Verification)."""

    def run(path, metrics=True):
        reference = TorchNetwork.of_checkpoint(loaded, torch.device('cpu'), SAMPLE_WEIGHTS)
        model, loading = open_network(path, 'cpu', 1), Loading(batch_size=4)
        record = record_of_both(reference, model, data, Protocol(), Selection(), loading)
        options = {'compare_images': 4, 'metrics': metrics, 'progress': False}
        found = verify(reference, model, data, str(tmp_path / 'out'), record, **options)
        print(format_verification(found))
        return {stage.name: stage.outcome for stage in found.stages}, found

    return run


@pytest.mark.parametrize('target', ['ascend', 'onnx', 'portable', 'tensorrt'])
def test_the_correct_files_pass_every_stage(exported, outcome, target):
    stages, found = outcome(exported[target])
    assert stages == {'rules': 'passed', 'heads': 'passed', 'detections': 'passed', 'metrics': 'passed'}
    assert found.passed
    assert found.stage('metrics').facts['figures'][0]['reference'] > 0.5
    assert found.stage('detections').facts['matched'] == 400


def deformable(model):
    return deform_conv.find(model)[WHICH]


def exchange_x_and_y(model):
    node, c = deformable(model)
    taps = c.kernel[0] * c.kernel[1]
    order = np.concatenate([np.arange(taps, 2 * taps), np.arange(taps), np.arange(2 * taps, 3 * taps)])
    exchanged = model.fresh('exchanged')
    model.substitute(
        node,
        [
            Node('Gather', [c.packed, model.constant('order', order)], [exchanged], {'axis': 1}, exchanged),
            node,
        ],
    )
    node.inputs[2] = exchanged


def drop_the_sigmoid(model):
    """One mask gets logits in place of probabilities."""
    _, c = deformable(model)
    above = [c.packed]
    while above:
        node = model.producers()[above.pop()]
        if node.op_type == 'Sigmoid':
            model.nodes.remove(node)
            model.replace_value(node.outputs[0], node.inputs[0])
            return
        if node.op_type != 'Conv':
            above += [name for name in node.inputs if name in model.producers()]
    raise AssertionError('no sigmoid above the deformable convolution')


def exchange_wh_and_reg(model):
    model.rename_value('wh', 'other')
    model.rename_value('reg', 'wh')
    model.rename_value('other', 'reg')


def use_weights_of_another_epoch(model):
    """Every weight changes by about a hundredth, as in an epoch at the end of the training."""
    random = np.random.RandomState(0)
    for name, array in model.initializers.items():
        if array.ndim == 4:
            model.initializers[name] = (array * (1 + 0.01 * random.standard_normal(array.shape))).astype(
                np.float32
            )


def use_a_plain_convolution(model):
    node, c = deformable(model)
    model.substitute(
        node,
        [
            Node(
                'Conv',
                [name for name in (c.x, c.weight, c.bias) if name],
                [c.output],
                OrderedDict(
                    [
                        ('strides', list(c.stride)),
                        ('pads', list(c.padding * 2)),
                        ('dilations', list(c.dilation)),
                    ]
                ),
                node.name,
            )
        ],
    )
    model.remove_dead()


def write_numbers_for_lists(model):
    deformable(model)[0].attributes.update(strides=1, pads=1, dilations=1)


def write_four_pads(model):
    deformable(model)[0].attributes['pads'] = [1, 1, 1, 1]


def omit_groups(model):
    del deformable(model)[0].attributes['groups']


def reverse_the_mask(model):
    """Reverse the order of the taps in the mask only."""
    node, c = deformable(model)
    taps = c.kernel[0] * c.kernel[1]
    order = np.concatenate([np.arange(2 * taps), np.arange(3 * taps - 1, 2 * taps - 1, -1)])
    turned = model.fresh('turned')
    model.substitute(
        node,
        [Node('Gather', [c.packed, model.constant('order', order)], [turned], {'axis': 1}, turned), node],
    )
    node.inputs[2] = turned


def unfold_one_batch_normalization(model):
    """The values stay the same, but ATC would compute it separately."""
    node, c = deformable(model)
    width = len(model.initializers[c.bias])
    names = [
        model.constant('bn.' + name, np.full(width, value, np.float32))
        for name, value in (('scale', 1), ('shift', 0), ('mean', 0), ('variance', 1))
    ]
    model.substitute(
        node,
        [node, Node('BatchNormalization', [c.output + '.raw'] + names, [c.output], {'epsilon': 0.0}, 'bn')],
    )
    node.outputs[0] = c.output + '.raw'


NUMBERS, FORMS = ['heads', 'detections'], ['rules']


@pytest.mark.parametrize(
    'sabotage, caught_by',
    [
        (exchange_x_and_y, NUMBERS),
        (drop_the_sigmoid, NUMBERS),
        (exchange_wh_and_reg, NUMBERS),
        (use_weights_of_another_epoch, NUMBERS),
        (use_a_plain_convolution, NUMBERS),
        (reverse_the_mask, NUMBERS),
        (write_numbers_for_lists, FORMS),
        (write_four_pads, FORMS),
        (omit_groups, FORMS),
        (unfold_one_batch_normalization, FORMS),
    ],
    ids=lambda value: getattr(value, '__name__', None) or '+'.join(value),
)
def test_sabotage_is_caught(exported, outcome, tmp_path, sabotage, caught_by):
    model = graph.load(exported['ascend'])
    sabotage(model)
    path = str(tmp_path / 'broken.onnx')
    model.save(path)
    stages, found = outcome(path, metrics=False)
    assert not found.passed
    assert [name for name in ('rules', 'heads', 'detections') if stages[name] == 'failed'] == caught_by


def test_a_batch_normalization_that_is_neither_there_nor_folded(loaded, outcome, tmp_path):
    """The result of a simplifier that drops the node and forgets its weights."""
    traced = trace(loaded.model, ('hm', 'wh', 'reg'), *SIZE)
    dropped = traced.find('BatchNormalization')[-WHICH]
    traced.nodes.remove(dropped)
    traced.replace_value(dropped.outputs[0], dropped.inputs[0])
    passes.clean(traced)
    path = str(tmp_path / 'broken.onnx')
    build(traced, TARGETS['ascend']).save(path)
    stages, found = outcome(path, metrics=False)
    assert not found.passed
    assert (stages['rules'], stages['heads'], stages['detections']) == ('passed', 'failed', 'failed')


def test_the_ap_alone_hardly_shows_one_wrong_deformable_convolution(exported, outcome, tmp_path):
    """x and y exchanged in one of 16: hardly a detection is exact, and the AP hardly changes."""
    model = graph.load(exported['ascend'])
    exchange_x_and_y(model)
    path = str(tmp_path / 'broken.onnx')
    model.save(path)
    stages, found = outcome(path)
    assert stages['heads'] == stages['detections'] == 'failed'
    ap = found.stage('metrics').checks[0]
    assert ap.name == 'AP' and ap.value < 0.03
    assert found.stage('detections').facts['matched'] < 200


def test_wh_and_reg_exchanged_cost_all_of_the_ap(exported, outcome, tmp_path):
    """The mistake of the original sample's script, as its users would see it."""
    model = graph.load(exported['portable'])
    exchange_wh_and_reg(model)
    path = str(tmp_path / 'broken.onnx')
    model.save(path)
    stages, found = outcome(path)
    assert [check.name for check in found.stage('heads').checks if not check.passed] == ['wh', 'reg']
    assert stages['metrics'] == 'failed'
    assert found.stage('metrics').facts['figures'][0]['model'] < 0.05
