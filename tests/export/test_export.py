"""Whole exports: what is in the files, and that they compute what the network computes."""

import glob
import json
import os

import numpy as np
import onnx
import pytest
import torch
from support.exports import HEADS, SIZE, TOLERANCE, assert_same, images, network, runnable
from support.random_weights import save_checkpoint

from centernet.exporting import rules
from centernet.exporting.exporter import export
from centernet.exporting.repair import repair
from centernet.exporting.targets import TARGETS, Target, file_name
from centernet.kernels import DCN
from centernet.networks.architectures import hourglass
from centernet.networks.checkpoint import load_model
from centernet.networks.runtimes.onnx_runtime import OnnxNetwork as OnnxRunner
from centernet.onnxfile import deform_conv, graph
from centernet.system.errors import OptionError

FORBIDDEN = set(
    ('Shape', 'Gather', 'Slice', 'Unsqueeze', 'Constant', 'BatchNormalization', 'Identity', 'Cast')
    + ('Reshape', 'Div', 'Mul')
)
OPERATORS = {'ascend': 'DeformableConv2D', 'tensorrt': 'DCNv2', 'onnx': 'DeformConv', 'portable': None}
NAMES = {
    'ascend': 'net.onnx',
    'tensorrt': 'net_tensorrt.onnx',
    'onnx': 'net_onnx.onnx',
    'portable': 'net_portable.onnx',
}
# their size alone takes the time: their operators are in dla_tiny and res_18, too
SLOW = ['resdcn_18', 'dlav0_34']
DEFORMABLE = {'dla_tiny': 16, 'resdcn_18': 3, 'res_18': 0, 'dlav0_34': 0}


@pytest.mark.parametrize(
    'arch', ['dla_tiny', 'res_18'] + [pytest.param(arch, marks=pytest.mark.slow) for arch in SLOW]
)
def test_every_target_computes_what_the_network_computes(arch, checkpoint, exported):
    for target, path in exported(arch).items():
        found = graph.load(path)
        kinds = [node.op_type for node in found.nodes]
        assert os.path.basename(path) == NAMES[target]
        assert kinds.count(OPERATORS[target]) == (DEFORMABLE[arch] if OPERATORS[target] else 0)
        assert (target == 'portable' and DEFORMABLE[arch]) or not FORBIDDEN.intersection(kinds)
        assert 'BatchNormalization' not in kinds and not rules.check(path).violations
        if target in ('onnx', 'portable') and found.opset <= onnx.defs.onnx_opset_version():
            onnx.checker.check_model(path)
        if runnable(target):
            assert_same(path, checkpoint(arch), images(1, SIZE, SIZE + 32))


@pytest.mark.slow
def test_hourglass_computes_what_the_network_computes(monkeypatch, tmp_path):
    """All its layers with an eighth of their channels; the 190 million parameters of the whole one take
    minutes."""
    monkeypatch.setattr(hourglass, 'CHANNELS', tuple(channels // 8 for channels in hourglass.CHANNELS))
    monkeypatch.setattr(hourglass.Hourglass.__init__, '__defaults__', (hourglass.CHANNELS, hourglass.BLOCKS))
    loaded = load_model(save_checkpoint(tmp_path / 'net.pth', 'hourglass', HEADS, 128))
    files = export(loaded, str(tmp_path), 'net', list(TARGETS), size=(128, 256))
    for target, path in zip(TARGETS, files[:1] + files[2:]):
        found = graph.load(path)
        assert not FORBIDDEN.intersection(node.op_type for node in found.nodes)
        assert len(found.find('Upsample' if target == 'tensorrt' else 'Resize')) == 10
        assert not rules.check(path).violations
        if runnable(target):
            assert_same(path, loaded, images(1, 128, 256))


@pytest.mark.slow
def test_dla_34_at_its_published_size(checkpoint, tmp_path):
    loaded = checkpoint('dla_34')
    ascend, _, portable = export(loaded, str(tmp_path), 'net', ['ascend', 'portable'], size=(512, 512))
    kinds = [node.op_type for node in graph.load(ascend).nodes]
    assert kinds.count('DeformableConv2D') == 16 and not FORBIDDEN.intersection(kinds)
    expected = network(loaded, images(1, 512, 512))
    for path in (ascend, portable):
        for name, value in OnnxRunner(path, 'cpu', 1)(images(1, 512, 512))._asdict().items():
            assert (value - expected[name]).abs().max() <= TOLERANCE * expected[name].abs().max(), (
                path,
                name,
            )


def test_the_offsets_order_is_in_the_weights(checkpoint, exported):
    files, state_dict = exported('dla_tiny'), checkpoint('dla_tiny').checkpoint.state_dict
    ascend, standard = graph.load(files['ascend']), graph.load(files['onnx'])
    names = [name for name in standard.initializers if name.endswith('conv_offset_mask.weight')]
    order = list(range(1, 18, 2)) + list(range(0, 18, 2)) + list(range(18, 27))
    assert len(names) == 16
    for name in names:
        weight = state_dict[name].numpy()
        assert np.array_equal(standard.initializers[name], weight)
        assert np.array_equal(ascend.initializers[name], weight[order])


def test_outputs_have_the_order_of_the_target(exported):
    for target, path in exported('res_18').items():
        found = graph.load(path)
        assert found.output_names() == ['hm', 'reg', 'wh'] if target == 'tensorrt' else ['hm', 'wh', 'reg']
        (value,) = found.inputs
        assert (value.name, value.dtype, value.shape) == ('image', np.float32, (1, 3, SIZE, SIZE + 32))


def test_a_new_target_is_one_entry(checkpoint, monkeypatch, tmp_path):
    """Names, files, rules, the metadata and the repair follow from the entry alone."""
    common = dict(reader='a new program', summary='for tests')
    rules_of = tuple(rules.RULES)
    new = Target('new', spelling='onnx', suffix='_new', opset=19, opsets=(19, 20), rules=rules_of, **common)
    plain = new._replace(name='plain', spelling=None, suffix='_plain', opset=12, opsets=(12, 12))
    plain = plain._replace(outputs=('wh', 'hm', 'reg'), batches=False)
    for target in (new, plain):
        monkeypatch.setitem(TARGETS, target.name, target)
    loaded = checkpoint('dla_tiny')
    files = export(loaded, str(tmp_path), 'net', ['new', 'plain'], size=(SIZE, SIZE))
    assert [os.path.basename(path) for path in files] == ['net_new.onnx', 'net_plain.onnx']
    for target, path in zip((new, plain), files):
        assert os.path.basename(path) == file_name('net', target)
        found = graph.load(path)
        assert (found.opset, found.metadata['target']) == (target.opset, target.name)
        assert found.output_names() == list(target.outputs)
        assert len(found.find('DeformConv')) == (16 if target.spelling else 0)
        report = rules.check(path)
        assert (
            report and report.target == target.name and set(report.checked) >= {'opset', 'batch', 'outputs'}
        )
        assert {item.rule for item in rules.check(path, 'tensorrt').violations} >= {'outputs'}
        repaired = repair(path, str(tmp_path / 'again.onnx'), target.name, target.outputs)
        assert graph.load(repaired.files[0]).output_names() == list(target.outputs)
        assert rules.check(repaired.files[0])
    assert_same(files[1], loaded, images())
    with pytest.raises(OptionError, match='batch 1 only'):
        export(loaded, str(tmp_path), 'net', ['plain'], size=(SIZE, SIZE), batch=2)
    with pytest.raises(OptionError, match='new, plain'):
        export(loaded, str(tmp_path), 'net', ['no such target'], size=(SIZE, SIZE))


@pytest.mark.parametrize('batch', [2, None])
def test_batches(batch, checkpoint, tmp_path):
    loaded = checkpoint('dla_tiny')
    for target, path in zip(
        ('onnx', 'portable'),
        export(loaded, str(tmp_path), 'net', ['onnx', 'portable'], size=(SIZE, SIZE), batch=batch),
    ):
        found = graph.load(path)
        assert {value.shape[0] for value in found.inputs + found.outputs} == {batch or 'batch'}
        if runnable(target):
            assert_same(path, loaded, images(batch or 3))


def test_the_metadata_tell_how_to_use_the_file(checkpoint, exported):
    loaded, path = checkpoint('dla_tiny'), exported('dla_tiny')['portable']
    said = graph.load(path).metadata
    assert (said['arch'], said['weights_sha256'], said['epoch'], said['target']) == (
        'dla_tiny',
        loaded.checkpoint.sha256,
        '1',
        'portable',
    )
    assert json.loads(said['classes']) == ['one', 'two', 'three'] and json.loads(said['heads']) == HEADS
    assert np.allclose(json.loads(said['mean']), [0.40789654, 0.44719302, 0.47026115])
    assert (json.loads(said['input_size']), said['colour_order'], said['down_ratio']) == (
        [SIZE, SIZE + 32],
        'BGR',
        '4',
    )
    assert json.loads(said['versions'])['onnx'] == onnx.__version__
    assert json.loads(said['versions'])['torch'] == torch.__version__ and 'git' not in said['versions']
    assert OnnxRunner(path, 'cpu', 1).info.stored == (SIZE, SIZE + 32)


def read(folder, name):
    with open(os.path.join(folder, name), 'rb') as file:
        return file.read()


def test_the_same_checkpoint_gives_the_same_bytes_without_traces_of_the_machine(
    checkpoint, exported, tmp_path
):
    before = os.path.dirname(exported('dla_tiny')['ascend'])
    export(checkpoint('dla_tiny'), str(tmp_path), 'net', list(TARGETS), size=(SIZE, SIZE + 32))
    names = sorted(os.listdir(before))
    assert names == sorted(os.listdir(str(tmp_path)))
    assert [read(before, name) for name in names] == [read(str(tmp_path), name) for name in names]
    for path in glob.glob(str(tmp_path / '*.onnx')):
        made = graph.load(path)
        made.initializers.clear()  # random bytes may spell anything
        text = made.to_model().SerializeToString()
        for trace in (str(tmp_path), os.path.dirname(torch.__file__), '.py', os.uname().nodename):
            assert trace.encode() not in text


def test_the_network_is_left_as_it_was(checkpoint, tmp_path):
    loaded = checkpoint('dla_tiny')
    x = images()
    before = {name: value.clone() for name, value in network(loaded, x).items()}
    export(loaded, str(tmp_path), 'net', ['onnx'], size=(SIZE, SIZE))
    export(loaded, str(tmp_path), 'net', raw=True, size=(SIZE, SIZE))
    assert not any(
        'forward' in module.__dict__ for module in loaded.model.modules() if isinstance(module, DCN)
    )
    assert all(torch.equal(value, before[name]) for name, value in network(loaded, x).items())


@pytest.mark.parametrize('batch', [1, 2])
def test_a_raw_file_is_as_the_sample_makes_it_and_runs(batch, checkpoint, tmp_path):
    loaded = checkpoint('dla_tiny')
    (path,) = export(loaded, str(tmp_path), 'net', raw=True, size=(SIZE, SIZE), batch=batch)
    found = graph.load(path)
    kinds = {node.op_type for node in found.nodes}
    assert {'DeformableConv2D', 'BatchNormalization', 'Slice', 'Reshape', 'Shape', 'Constant'} <= kinds
    assert all(node.attributes['strides'] == 1 for node in found.find('DeformableConv2D'))
    assert found.metadata['target'] == 'raw' and os.path.dirname(torch.__file__).encode() not in read(
        str(tmp_path), 'net.onnx'
    )
    assert 'attributes' in {violation.rule for violation in rules.check(path, 'ascend').violations}
    deform_conv.rewrite(found, 'ascend')
    assert_same(found.to_model(), loaded, images(batch))


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(targets=['ascend', 'tpu']), "unknown target 'tpu'; .*ascend, tensorrt, onnx, portable"),
        (dict(targets=[]), 'no target'),
        (dict(size=(SIZE + 1, SIZE)), 'height must be a multiple of 32 for dla_tiny, not 65'),
        (dict(size=(SIZE, 0)), 'the input width must be'),
        (dict(targets=['tensorrt'], batch=2), 'batch 1 only'),
        (dict(targets=['onnx', 'ascend'], batch=None), 'fixed batch'),
        (dict(batch=0), 'batch must be at least 1'),
        (dict(targets=['ascend'], boxes=10), '--with-decode is available for the targets onnx and portable'),
        (dict(raw=True, boxes=10), '--raw'),
        (dict(raw=True, batch=None), '--dynamic-batch'),
    ],
)
def test_what_cannot_be_exported_is_refused_before_anything_is_written(
    options, message, checkpoint, tmp_path
):
    with pytest.raises(OptionError, match=message):
        export(
            checkpoint('dla_tiny'),
            str(tmp_path / 'out'),
            'net',
            **dict(dict(size=(SIZE, SIZE)), **options),
        )
    assert not (tmp_path / 'out').exists()


def test_a_target_that_reads_boxes_only_refuses_other_heads(tmp_path):
    loaded = load_model(save_checkpoint(tmp_path / 'net.pth', 'dla_tiny', {'hm': 1, 'wh': 2, 'dep': 1}, SIZE))
    with pytest.raises(OptionError, match=r'tensorrt.*reads hm, wh .2. and reg .2. only.*dep'):
        export(loaded, str(tmp_path / 'out'), 'net', ['tensorrt'], size=(SIZE, SIZE))
    (path, _) = export(loaded, str(tmp_path / 'out'), 'net', size=(SIZE, SIZE))
    assert graph.load(path).output_names() == ['hm', 'wh', 'dep']
