"""ONNX files of other exports, by the commands: evaluated, repaired, refused, or said."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.changed_sample import (
    AP,
    save_changed,
)

from centernet import cli
from centernet.exporting.targets import TARGETS
from centernet.networks.runtimes.onnx_runtime import HAS_DEFORM_CONV
from centernet.sample import SAMPLE_WEIGHTS


def ap(document):
    return document['metrics']['AP']


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
    assert status == 0 and 'itself changes the image' in err and 'Sub' in err and "colour_order 'RGB'" in err


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
