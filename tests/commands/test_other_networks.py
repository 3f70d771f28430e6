"""Networks with other heads or another normalization, by the commands: the unchanged sample's figures."""

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from support.changed_sample import (
    AP,
    IMAGES,
    centred,
    four_sides,
    renamed_heads,
    save_changed,
    size_per_class,
    trained_with,
    with_head,
    without_offsets,
)

from centernet import cli
from centernet.detection import NORMALIZATIONS
from centernet.export.targets import TARGETS
from centernet.onnxfile import graph
from centernet.runners.onnx_runner import HAS_DEFORM_CONV
from centernet.sample import SAMPLE_WEIGHTS, sample_folder


@pytest.fixture(scope='module')
def sample(tmp_path_factory):
    return sample_folder(str(tmp_path_factory.mktemp('sample')))


@pytest.fixture
def run(sample, tmp_path, capsys):
    """A function that runs a command on the sample's first images: (status, JSON or None, stderr)."""

    def run(*words, limit=IMAGES):
        capsys.readouterr()
        argv = [*words, '--data', sample, '--limit', str(limit), '--no-progress', '--json', '--device', 'cpu']
        status = cli.main(argv + ['--threads', '1', '--output', str(tmp_path / 'out')])
        out, err = capsys.readouterr()
        return status, json.loads(out) if out else None, err

    return run


def ap(document):
    return document['metrics']['AP']


# Normalization


@pytest.mark.parametrize(
    'name, wrong, warned',
    [
        ('half', 0.450, True),
        pytest.param('pascal', 0.713, False, marks=pytest.mark.slow),
        pytest.param('unit', 0.212, True, marks=pytest.mark.slow),
    ],
)
def test_a_wrong_normalization_is_found_out_and_the_right_one_gives_the_figure(
    name, wrong, warned, run, tmp_path
):
    weights = save_changed(tmp_path / 'net.pth', trained_with(NORMALIZATIONS[name]))
    status, document, err = run('eval-pth', '--weights', weights)
    assert status == 0 and ap(document) == pytest.approx(wrong, abs=2e-3)
    assert ('warning' in err and f'--normalization {name}' in err) == warned
    status, document, err = run('eval-pth', '--weights', weights, '--normalization', name)
    assert status == 0 and 0.734 < ap(document) < 0.741
    assert 'warning: the first layer' not in err and f'normalization {name}' in err
    assert document['protocol']['normalization']['name'] == name


def test_the_plain_sample_is_silent_and_a_wrong_choice_is_not(run, tmp_path):
    weights = save_changed(tmp_path / 'net.pth')
    status, document, err = run('eval-pth', '--weights', weights)
    assert status == 0 and ap(document) == pytest.approx(AP, abs=1e-3)
    assert 'warning: the first layer' not in err
    _, _, err = run('eval-pth', '--weights', weights, '--normalization', '0,0,0/1,1,1', limit=8)
    assert 'does not fit the normalization unit' in err and 'try --normalization' in err


@pytest.mark.parametrize('entry', ['normalization', 'mean', 'opt'])
def test_a_checkpoint_s_own_normalization_is_read(entry, run, tmp_path):
    half = NORMALIZATIONS['half']
    numbers = {'mean': list(half.mean), 'std': list(half.std)}
    meta = {'normalization': {'normalization': 'half'}, 'mean': numbers, 'opt': {'opt': numbers}}[entry]
    weights = save_changed(tmp_path / 'net.pth', trained_with(half), **meta)
    status, document, err = run('eval-pth', '--weights', weights)
    assert status == 0 and 0.734 < ap(document) < 0.741 and 'normalization half' in err
    _, document, err = run('eval-pth', '--weights', weights, '--normalization', 'coco', limit=2)
    assert 'records the normalization half; coco is used' in err
    assert document['protocol']['normalization']['mean'] == list(NORMALIZATIONS['coco'].mean)


@pytest.mark.slow
def test_the_normalization_goes_through_export_eval_onnx_and_verify(run, tmp_path, capsys):
    weights = save_changed(tmp_path / 'net.pth', trained_with(NORMALIZATIONS['half']))
    argv = ['export', '--weights', weights, '--target', 'portable', '--output', str(tmp_path)]
    assert cli.main([*argv, '--normalization', 'half']) == 0
    path = str(tmp_path / 'net_portable.onnx')
    said = graph.load(path).metadata
    assert json.loads(said['mean']) == [0.5] * 3 and json.loads(said['std']) == [1.0] * 3
    capsys.readouterr()
    status, document, err = run('eval-onnx', path)
    assert status == 0 and 0.734 < ap(document) < 0.741 and 'normalization half' in err
    # the checkpoint does not name one: verify takes the file's, and finds nothing to warn of
    status, document, err = run('verify', path, '--weights', weights, limit=8)
    assert status == 0 and 'normalization half' in err and 'warning: the first layer' not in err
    # both sides with a wrong one: the heads agree, the file's metadata and the first layer do not
    status, document, err = run('verify', path, '--weights', weights, '--normalization', 'coco', limit=8)
    (found,) = document.values()
    assert status == 1 and found['stages']['heads']['outcome'] == 'passed'
    assert 'the metadata record the normalization half' in err and 'try --normalization half' in err
    # exported with a wrong one, which the file then records: the first layer still tells
    assert cli.main([*argv, '--normalization', 'coco']) == 0
    capsys.readouterr()
    status, _, err = run('verify', path, '--weights', weights, limit=8)
    assert status == 0 and 'try --normalization half' in err


@pytest.mark.parametrize(
    'text', ['imagenet', '0.5', '0.5,0.5/1,1', '0,0,0/1,1,0', 'a,b,c/1,1,1', '0,0,0/nan,1,1']
)
def test_what_is_no_normalization_is_refused(text, run):
    status, _, err = run('eval-pth', '--weights', SAMPLE_WEIGHTS, '--normalization', text)
    assert status == 2 and 'coco, pascal, half, unit' in err and 'Traceback' not in err


# Heads


@pytest.mark.parametrize(
    'changes, said',
    [
        ([size_per_class], 'wh has 8 channels: a size for each class'),
        ([four_sides], 'wh has 4 channels: distances to the four sides'),
        ([with_head('hps', 34), with_head('hm_hp', 17)], 'heads that are not used: hps, hm_hp'),
    ],
)
def test_other_heads_with_the_same_boxes_give_the_same_figure(changes, said, run, tmp_path):
    weights = save_changed(tmp_path / 'net.pth', *changes)
    status, document, err = run('eval-pth', '--weights', weights)
    assert status == 0 and ap(document) == pytest.approx(AP, abs=1e-3) and said in err


def test_no_reg_is_reg_of_a_half(run, tmp_path):
    found = []
    for change in (centred, without_offsets):
        status, document, err = run(
            'eval-pth', '--weights', save_changed(tmp_path / 'net.pth', change), '--flip-test'
        )
        assert status == 0
        found.append(document['metrics'])
    assert found[0] == found[1] and 'no head reg: centres are in the middle of their cells' in err


@pytest.mark.slow
@pytest.mark.parametrize(
    'changes, omitted',
    [
        ([size_per_class], 'tensorrt'),
        ([without_offsets], 'tensorrt'),
        ([with_head('hps', 34), with_head('hm_hp', 17)], 'tensorrt'),
        ([with_head('tracking', 2), with_head('dep', 1)], 'tensorrt'),
    ],
)
def test_every_head_is_exported_under_its_name_and_proved(changes, omitted, run, tmp_path, capsys):
    weights = save_changed(tmp_path / 'net.pth', *changes)
    assert cli.main(['export', '--weights', weights, '--output', str(tmp_path / 'files')]) == 0
    assert f'target {omitted} is omitted' in capsys.readouterr().err
    files = sorted(str(path) for path in (tmp_path / 'files').glob('*.onnx'))
    assert len(files) == len(TARGETS) - 1
    status, document, err = run('verify', *files, '--weights', weights, '--compare-images', '2', limit=6)
    assert status == 0, err
    heads = set(torch.load(weights)['state_dict'])
    for found in document.values():
        assert set(found['stages']['heads']['heads']) == {
            name.split('.')[0] for name in heads if '.2.bias' in name
        }
        assert [stage['outcome'] for stage in found['stages'].values()] == ['passed'] * 4
    with pytest.raises(AssertionError):
        assert cli.main(['export', '--weights', weights, '--target', omitted, '--output', str(tmp_path)]) == 0
    assert 'reads hm, wh (2) and reg (2) only' in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    'changes', [[size_per_class], [without_offsets], [four_sides], [size_per_class, without_offsets]]
)
def test_the_decoder_in_the_file_is_right_for_other_boxes(changes, run, tmp_path):
    weights = save_changed(tmp_path / 'net.pth', *changes)
    words = f'export --weights {weights} --target portable --with-decode --output {tmp_path}'
    assert cli.main(words.split()) == 0
    path = str(tmp_path / 'net_portable.onnx')
    assert graph.load(path).output_names() == ['boxes', 'scores', 'classes']
    status, document, err = run('verify', path, '--weights', weights, '--compare-images', '4', limit=8)
    (found,) = document.values()
    assert status == 0 and found['stages']['detections']['matched'] == 400, err


def test_the_decoder_is_refused_where_it_would_lose_heads(run, tmp_path, capsys):
    weights = save_changed(tmp_path / 'net.pth', with_head('hps', 34))
    words = f'export --weights {weights} --target portable --with-decode --output {tmp_path}'
    assert cli.main(words.split()) == 2 and 'would lose the heads hps' in capsys.readouterr().err


@pytest.mark.slow
def test_a_network_without_boxes_is_exported_and_its_heads_are_proved(run, tmp_path, capsys):
    names = {'hm': 'hm_t', 'wh': 'reg_t', 'reg': 'reg_l'}
    weights = save_changed(tmp_path / 'net.pth', renamed_heads(**names))
    assert (
        cli.main(
            ['export', '--weights', weights, '--target', 'ascend', 'portable', '--output', str(tmp_path)]
        )
        == 0
    )
    files = [str(tmp_path / name) for name in ('net.onnx', 'net_portable.onnx')]
    assert graph.load(files[0]).output_names() == list(names.values())
    capsys.readouterr()
    status, document, _ = run('verify', *files, '--weights', weights, '--compare-images', '2', limit=4)
    assert status == 0
    for found in document.values():
        outcomes = {name: stage['outcome'] for name, stage in found['stages'].items()}
        expected = {'rules': 'passed', 'heads': 'passed', 'detections': 'skipped', 'metrics': 'skipped'}
        assert outcomes == expected
    for words in (['eval-pth', '--weights', weights], ['eval-onnx', files[1]]):
        status, _, err = run(*words)
        assert status == 2 and 'no head hm' in err and 'hm_t' in err


# A sigmoid inside a file


def with_sigmoid(model, peaks):
    """Put a sigmoid behind hm, and its peaks as PyTorch's exporter writes CenterNet's _nms."""
    for node in model.graph.node:
        node.output[:] = ['logits' if name == 'hm' else name for name in node.output]
    if not peaks:
        model.graph.node.append(helper.make_node('Sigmoid', ['logits'], ['hm']))
        return
    model.graph.node.extend(
        [
            helper.make_node('Sigmoid', ['logits'], ['heat']),
            helper.make_node(
                'MaxPool', ['heat'], ['highest'], kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1]
            ),
            helper.make_node('Equal', ['highest', 'heat'], ['same']),
            helper.make_node('Cast', ['same'], ['keep'], to=TensorProto.FLOAT),
            helper.make_node('Mul', ['heat', 'keep'], ['hm']),
        ]
    )


@pytest.fixture(scope='module')
def plain_file(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp('plain'))
    assert cli.main(['export', '--target', 'portable', '--output', folder]) == 0
    return folder + '/dla_tiny_portable.onnx'


@pytest.mark.slow
@pytest.mark.parametrize('peaks', [False, True])
def test_a_sigmoid_in_a_file_is_recognised_and_removed(peaks, plain_file, run, tmp_path, capsys):
    model = onnx.load(plain_file)
    with_sigmoid(model, peaks)
    path = str(tmp_path / 'sigmoid.onnx')
    onnx.save(model, path)
    status, document, err = run('eval-onnx', path)
    assert status == 0 and ap(document) == pytest.approx(AP, abs=1e-3) and 'hm is a probability' in err
    scores = np.array([item['score'] for item in json.loads((tmp_path / 'out' / 'results.json').read_text())])
    assert scores.min() < 0.1 and scores.max() > 0.8  # not squeezed into 0.5 to 0.73 by a second sigmoid
    # against the checkpoint, the same model
    sample_weights = save_changed(tmp_path / 'net.pth')
    status, document, err = run('verify', path, '--weights', sample_weights, limit=6)
    assert status == 0, err
    # modify gives a file of logits
    argv = ['modify', path, '--target', 'portable', '--outputs', 'hm,wh,reg']
    assert cli.main([*argv, '--output', str(tmp_path / 'logits.onnx')]) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if 'output hm' in line]
    assert 'Sigmoid' in line and 'removed' in line and ('MaxPool' in line) == peaks
    status, document, err = run('eval-onnx', str(tmp_path / 'logits.onnx'))
    assert status == 0 and ap(document) == pytest.approx(AP, abs=1e-3) and 'probability' not in err


def test_what_is_more_than_a_sigmoid_is_not_removed(plain_file, tmp_path, capsys):
    model = onnx.load(plain_file)
    for node in model.graph.node:
        node.output[:] = ['logits' if name == 'hm' else name for name in node.output]
    model.graph.initializer.append(helper.make_tensor('half', TensorProto.FLOAT, [], [0.5]))
    model.graph.node.extend(
        [
            helper.make_node('Mul', ['logits', 'half'], ['colder']),
            helper.make_node('Sigmoid', ['colder'], ['hm']),
        ]
    )
    path = str(tmp_path / 'scaled.onnx')
    onnx.save(model, path)
    assert cli.main(['modify', path, '--target', 'portable']) == 2
    assert 'more than a sigmoid' in capsys.readouterr().err


def test_an_unknown_operator_behind_hm_is_said(plain_file, run, tmp_path):
    model = onnx.load(plain_file)
    for node in model.graph.node:
        node.output[:] = ['logits' if name == 'hm' else name for name in node.output]
    model.graph.node.append(helper.make_node('Softplus', ['logits'], ['hm']))
    path = str(tmp_path / 'softplus.onnx')
    onnx.save(model, path)
    status, _, err = run('eval-onnx', path, limit=2)
    assert status == 0 and 'taken as logits' in err and 'Softplus' in err


# Repairing files with standard operators


@pytest.mark.slow
@pytest.mark.skipif(not HAS_DEFORM_CONV, reason='needs onnxruntime >= 1.26, which has DeformConv, to compare')
def test_a_file_with_deform_conv_is_repaired_for_the_other_targets(run, tmp_path, capsys):
    assert cli.main(['export', '--target', 'onnx', '--output', str(tmp_path)]) == 0
    weights = save_changed(tmp_path / 'net.pth')
    for target in TARGETS:
        made = str(tmp_path / (target + '.onnx'))
        capsys.readouterr()
        assert (
            cli.main(['modify', str(tmp_path / 'dla_tiny_onnx.onnx'), '--target', target, '--output', made])
            == 0
        )
        changes = capsys.readouterr().out
        assert ('16 DeformConv written as' in changes) == (target != 'onnx')
        status, _, err = run('verify', made, '--weights', weights, '--compare-images', '2', limit=4)
        assert status == 0, err


# Files that would give wrong figures in silence


def test_exchanged_outputs_are_said(plain_file, run, tmp_path):
    model = onnx.load(plain_file)
    for node in model.graph.node:
        node.output[:] = [{'wh': 'reg', 'reg': 'wh'}.get(name, name) for name in node.output]
    path = str(tmp_path / 'exchanged.onnx')
    onnx.save(model, path)
    status, _, err = run('eval-onnx', path, limit=2)
    assert status == 0 and 'wh is computed by the weights of reg' in err and 'centernet modify' in err
    _, _, err = run('eval-onnx', plain_file, limit=2)
    assert 'warning: outputs' not in err


def test_peaks_of_logits_are_refused_and_repaired(plain_file, run, tmp_path):
    model = onnx.load(plain_file)
    with_sigmoid(model, peaks=True)
    for node in model.graph.node:
        node.input[:] = ['logits' if name == 'heat' else name for name in node.input]
    path = str(tmp_path / 'peaks.onnx')
    onnx.save(model, path)
    status, _, err = run('eval-onnx', path, limit=2)
    assert status == 2 and 'logits at peaks' in err
    made = str(tmp_path / 'logits.onnx')
    assert cli.main(['modify', path, '--target', 'portable', '--outputs', 'hm,wh,reg', '--output', made]) == 0
    status, document, _ = run('eval-onnx', made)
    assert status == 0 and ap(document) == pytest.approx(AP, abs=1e-3)


def test_a_negated_sigmoid_is_not_removed(plain_file, tmp_path, capsys):
    model = onnx.load(plain_file)
    for node in model.graph.node:
        node.output[:] = ['logits' if name == 'hm' else name for name in node.output]
    model.graph.node.extend(
        [helper.make_node('Neg', ['logits'], ['turned']), helper.make_node('Sigmoid', ['turned'], ['hm'])]
    )
    path = str(tmp_path / 'negated.onnx')
    onnx.save(model, path)
    assert cli.main(['modify', path, '--target', 'portable', '--outputs', 'hm,wh,reg']) == 2
    assert 'more than a sigmoid' in capsys.readouterr().err


def test_a_graph_that_normalises_itself_and_other_metadata_are_said(plain_file, run, tmp_path):
    model = onnx.load(plain_file)
    for node in model.graph.node:
        node.input[:] = ['inner' if name == 'image' else name for name in node.input]
    model.graph.initializer.append(helper.make_tensor('half', TensorProto.FLOAT, [], [0.5]))
    model.graph.node.insert(0, helper.make_node('Sub', ['image', 'half'], ['inner']))
    for entry in model.metadata_props:
        if entry.key == 'colour_order':
            entry.value = 'RGB'
    path = str(tmp_path / 'inside.onnx')
    onnx.save(model, path)
    status, _, err = run('eval-onnx', path, limit=2)
    assert status == 0 and 'changes the image itself' in err and 'Sub' in err and "colour_order 'RGB'" in err


def test_modify_says_which_normalization_it_records(plain_file, tmp_path, capsys):
    weights = save_changed(tmp_path / 'net.pth', normalization='half')
    argv = ['modify', plain_file, '--target', 'portable', '--outputs', 'hm,wh,reg']
    argv += ['--output', str(tmp_path / 'made.onnx')]
    capsys.readouterr()
    assert cli.main([*argv, '--weights', SAMPLE_WEIGHTS]) == 0
    assert 'normalization' not in capsys.readouterr().out
    assert cli.main([*argv, '--weights', weights]) == 0
    assert 'coco is recorded, although the checkpoint says half' in capsys.readouterr().out
    assert cli.main([*argv, '--normalization', 'unit']) == 0
    assert 'unit is recorded, although the file says coco' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['classes', 'boxes', 'image'])
def test_a_head_with_the_name_of_another_output_is_refused(name, tmp_path, capsys):
    weights = save_changed(tmp_path / 'net.pth', with_head(name, 2))
    assert cli.main(['export', '--weights', weights, '--output', str(tmp_path)]) == 2
    assert f'a head cannot be called {name}' in capsys.readouterr().err


def test_what_is_assumed_of_the_input_is_said(run, tmp_path):
    _, _, err = run('eval-pth', '--weights', SAMPLE_WEIGHTS, limit=2)
    assert 'input: 128 x 128, normalization coco (assumed)' in err
    weights = save_changed(tmp_path / 'net.pth', input_size='128', normalization='imagenet', classes=['a'])
    _, _, err = run('eval-pth', '--weights', weights, '--input-height', '64', '--input-width', '64', limit=2)
    assert 'input: 64 x 64, normalization coco (assumed)' in err
    assert all(f'the entry {name} is ignored' in err for name in ('input_size', 'normalization', 'classes'))
