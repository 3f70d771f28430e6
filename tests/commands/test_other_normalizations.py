"""Networks that were trained with another normalization, by the commands."""

import json

import pytest
from support.changed_sample import (
    AP,
    save_changed,
    trained_with,
)

from centernet import cli
from centernet.detection import NORMALIZATIONS
from centernet.onnxfile import graph
from centernet.sample import SAMPLE_WEIGHTS


def ap(document):
    return document['metrics']['AP']


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
    assert document['record']['protocol']['normalization']['name'] == name


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
    assert 'normalization coco (the file records the normalization half)' in err
    assert document['record']['protocol']['normalization']['mean'] == list(NORMALIZATIONS['coco'].mean)


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


def test_what_is_assumed_of_the_input_is_said(run, tmp_path):
    _, _, err = run('eval-pth', '--weights', SAMPLE_WEIGHTS, limit=2)
    assert 'input: 128 x 128, normalization coco (assumed)' in err
    weights = save_changed(tmp_path / 'net.pth', input_size='128', normalization='imagenet', classes=['a'])
    _, _, err = run('eval-pth', '--weights', weights, '--input-height', '64', '--input-width', '64', limit=2)
    assert 'input: 64 x 64, normalization coco (assumed)' in err
    assert all(f'the entry {name} is ignored' in err for name in ('input_size', 'normalization', 'classes'))


def test_export_says_what_it_assumes(tmp_path, capsys):
    argv = ['export', '--target', 'ascend', '--output', str(tmp_path), '--weights']
    assert cli.main([*argv, SAMPLE_WEIGHTS]) == 0
    assert 'input 128 x 128, normalization coco (assumed)' in capsys.readouterr().out
    assert cli.main([*argv, save_changed(tmp_path / 'net.pth', input_size=None, normalization='half')]) == 0
    assert 'input 512 x 512 (assumed), normalization half\n' in capsys.readouterr().out
