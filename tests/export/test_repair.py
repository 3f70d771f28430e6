"""Files of the sample's kind, repaired."""

import numpy as np
import pytest
from support import sample_way
from support.exports import HEADS, SIZE, assert_same, images, runnable
from support.random_weights import save_checkpoint

from centernet.cli import main
from centernet.exporting import rules
from centernet.exporting.exporter import export
from centernet.exporting.repair import repair
from centernet.exporting.targets import TARGETS
from centernet.networks.checkpoint import load_model
from centernet.onnxfile import graph
from centernet.sample import SAMPLE_WEIGHTS
from centernet.system.errors import ModelError, OptionError

RENAMED = [f'output {name} renamed to {head}' for name, head in (('wh', 'reg'), ('reg', 'wh'))]
HOW = 'names' if sample_way.MODERN else 'numbers'


def assert_swapped(changes, how):
    """The first lines say that wh and reg were exchanged, and what decided it."""
    for line, start in zip(changes, RENAMED):
        assert line.startswith(start) and how in line


@pytest.fixture(scope='module')
def loaded(checkpoint):
    return checkpoint('dla_tiny')


@pytest.fixture(scope='module')
def raw(loaded, tmp_path_factory):
    """A file that the sample's way of exporting makes."""
    path = str(tmp_path_factory.mktemp('raw') / 'net.onnx')
    sample_way.export(loaded.model, path, SIZE, SIZE)
    return path


@pytest.fixture
def numbered(raw, tmp_path):
    """The file with torch 1.0's names of weights, which are their places in the state dict."""
    found = graph.load(raw)
    if sample_way.MODERN:
        # torch 2.x folds and sorts; only the heads' last weights matter, and those are in the state dict's
        # order hm, wh, reg
        last = {head: 1000 + 4 * i for i, head in enumerate(HEADS)}
        for i, name in enumerate(list(found.initializers)):
            head = next((head for head in HEADS if name == f'model.{head}.2.weight'), None)
            found.rename_value(name, str(last[head] if head else i))
    path = str(tmp_path / 'numbered.onnx')
    found.save(path)
    return path


def test_the_sample_s_file_is_wrong_as_the_issue_says(raw, loaded):
    found = graph.load(raw)
    assert found.output_names() == ['hm', 'wh', 'reg']
    assert found.find('Reshape', 'Slice') and all(
        node.attributes['strides'] == 1 for node in found.find('DeformableConv2D')
    )
    assert not rules.check(raw, 'ascend')
    with pytest.raises(AssertionError):
        assert_same(raw, loaded, images())


@pytest.mark.parametrize('target', list(TARGETS))
def test_it_is_repaired_for_every_target(target, raw, loaded, tmp_path):
    found = repair(raw, str(tmp_path / 'out.onnx'), target)
    assert_swapped(found.changes, HOW)
    assert found.files == [
        str(tmp_path / name) for name in ['out.onnx'] + ['out_atc.sh'] * (target == 'ascend')
    ]
    assert not rules.check(found.files[0], target).violations
    made = graph.load(found.files[0])
    assert made.output_names() == list(TARGETS[target].outputs) and made.metadata['target'] == target
    assert all(node.name and not node.doc_string for node in made.nodes)
    if runnable(target):
        assert_same(found.files[0], loaded, images())


@pytest.mark.slow
def test_it_verifies_once_it_is_repaired(tmp_path, capsys):
    """The built-in network, exported in the sample's way, by the commands that a user gives."""

    def verify(name, target):
        words = ['verify', str(tmp_path / name), '--weights', SAMPLE_WEIGHTS, '--rules', target]
        words += ['--limit', '8', '--compare-images', '4', '--device', 'cpu', '--threads', '1']
        status = main([*words, '--output', str(tmp_path / 'verified')])
        return status, capsys.readouterr().out

    network = load_model(SAMPLE_WEIGHTS)
    sample_way.export(network.model, str(tmp_path / 'net.onnx'), *network.checkpoint.meta['input_size'])
    status, out = verify('net.onnx', 'ascend')
    assert status == 1 and 'NOT the same model: ' in out
    for target in ('ascend', 'portable'):
        assert main(['modify', str(tmp_path / 'net.onnx'), '--target', target]) == 0
        out = capsys.readouterr().out
        assert all(line in out for line in RENAMED)
        status, out = verify('net_modify.onnx', target)
        assert status == 0, out
        for stage in ('rules', 'heads', 'detections', 'metrics'):
            assert stage + ': passed' in out


def test_it_becomes_what_export_writes(raw, loaded, tmp_path):
    """Node for node; weights to the last bits, as torch may have folded BatchNorm itself, in float32."""
    made = graph.load(repair(raw, str(tmp_path / 'out.onnx')).files[0])
    exported = graph.load(export(loaded, str(tmp_path), 'net', ['ascend'], size=(SIZE, SIZE))[0])
    assert [node.op_type for node in made.nodes] == [node.op_type for node in exported.nodes]
    assert [node.attributes for node in made.nodes] == [node.attributes for node in exported.nodes]
    for one, other in zip(made.initializers.values(), exported.initializers.values()):
        assert one.shape == other.shape and np.abs(one - other).max() <= 1e-5 * max(1, np.abs(other).max())


def test_our_own_raw_file_needs_no_renaming(loaded, tmp_path):
    (path,) = export(loaded, str(tmp_path), 'net', raw=True, size=(SIZE, SIZE))
    found = repair(path, str(tmp_path / 'net_modify.onnx'))
    assert 'right names' in found.changes[0] and 'names of the weights' in found.changes[0]
    made = graph.load(found.files[0])
    assert (made.metadata['arch'], made.metadata['weights_sha256']) == ('dla_tiny', loaded.checkpoint.sha256)
    assert_same(found.files[0], loaded, images())


def test_a_second_time_changes_nothing(raw, tmp_path):
    first = repair(raw, str(tmp_path / 'a.onnx')).files[0]
    if (
        not sample_way.MODERN
    ):  # Conv_0, ... says nothing of heads: the file's own order of outputs has to be said
        with pytest.raises(ModelError, match='cannot tell'):
            repair(first, str(tmp_path / 'b.onnx'))
    second = repair(first, str(tmp_path / 'b.onnx'), heads=['hm', 'wh', 'reg']).files[0]
    assert graph.load(first).to_model() == graph.load(second).to_model()


# Which output is which


def test_the_numbers_of_torch_1_0_decide(numbered, loaded, tmp_path):
    found = repair(numbered, str(tmp_path / 'out.onnx'), 'portable')
    assert_swapped(found.changes, 'numbers')
    assert_same(found.files[0], loaded, images())


def renamed(raw, tmp_path):
    """The file with names that say nothing."""
    found = graph.load(raw)
    for i, name in enumerate(list(found.initializers)):
        found.rename_value(name, f'weight_{i}')
    path = str(tmp_path / 'renamed.onnx')
    found.save(path)
    return path


def test_names_that_say_nothing_are_refused(raw, tmp_path):
    with pytest.raises(ModelError, match=r'cannot tell.*--weights.*--outputs'):
        repair(renamed(raw, tmp_path), str(tmp_path / 'out.onnx'))
    assert not (tmp_path / 'out.onnx').exists()


def test_the_checkpoint_decides(raw, loaded, tmp_path):
    found = repair(renamed(raw, tmp_path), str(tmp_path / 'out.onnx'), 'portable', loaded=loaded)
    assert_swapped(found.changes, 'checkpoint')
    assert graph.load(found.files[0]).metadata['arch'] == 'dla_tiny'
    assert_same(found.files[0], loaded, images())


def test_the_user_decides(raw, loaded, tmp_path):
    found = repair(renamed(raw, tmp_path), str(tmp_path / 'out.onnx'), 'portable', heads=['hm', 'reg', 'wh'])
    assert_swapped(found.changes, 'as given')
    assert_same(found.files[0], loaded, images())


def test_another_checkpoint_is_refused(raw, tmp_path):
    other = load_model(save_checkpoint(tmp_path / 'other.pth', 'dla_tiny', HEADS, SIZE, seed=2))
    with pytest.raises(ModelError, match='weights of no head'):
        repair(raw, str(tmp_path / 'out.onnx'), loaded=other)


@pytest.mark.parametrize(
    'heads, error, message',
    [
        (['hm', 'wh'], OptionError, 'name each of hm, wh, reg once'),
        (['hm', 'wh', 'wh'], OptionError, 'name each of hm, wh, reg once'),
        (['hm', 'wh', 'rge'], OptionError, 'name each of hm, wh, reg once'),
        (['wh', 'hm', 'reg'], ModelError, 'wh has 3 channels'),
    ],
)
def test_what_cannot_be_is_refused(heads, error, message, raw, tmp_path):
    with pytest.raises(error, match=message):
        repair(raw, str(tmp_path / 'out.onnx'), heads=heads)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda found: found.outputs.pop(), 'lack wh|cannot tell'),
        (lambda found: found.inputs.append(found.inputs[0]._replace(name='other')), 'needs one input'),
        (
            lambda found: found.inputs.__setitem__(0, found.inputs[0]._replace(shape=(1, 3, 'h', 'w'))),
            'needs one input',
        ),
        (
            lambda found: found.outputs.__setitem__(0, found.outputs[0]._replace(name='image')),
            'not the result of a convolution',
        ),
    ],
)
def test_other_models_are_refused(change, message, raw, tmp_path):
    found = graph.load(raw)
    change(found)
    found.save(str(tmp_path / 'other.onnx'))
    with pytest.raises(ModelError, match=message):
        repair(str(tmp_path / 'other.onnx'), str(tmp_path / 'out.onnx'))
