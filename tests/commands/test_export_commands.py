"""``centernet export`` and ``centernet modify``, and the sample's scripts, as a user calls them."""

import os
import shutil
import subprocess
import sys

import pytest
from support.random_weights import save_checkpoint

from centernet.cli import main
from centernet.onnxfile import graph

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HEADS = {'hm': 2, 'wh': 2, 'reg': 2}


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp('models') / 'net.pth', 'dla_tiny', HEADS, 64)


def names(folder):
    return sorted(os.listdir(str(folder)))


def test_files_go_to_the_output_folder(weights, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(['export', '--weights', weights, '--target', 'ascend']) == 0
    assert names('output/export') == ['net.onnx', 'net_atc.sh']
    assert '  output/export/net_atc.sh' in capsys.readouterr().out.splitlines()
    # as the checkpoint says
    assert graph.load('output/export/net.onnx').inputs[0].shape == (1, 3, 64, 64)


def test_every_flag_reaches_the_file(weights, tmp_path):
    assert (
        main(
            [
                'export',
                '--weights',
                weights,
                '--arch',
                'dla_tiny',
                '--input-height',
                '96',
                '--input-width',
                '128',
                '--target',
                'onnx',
                'portable',
                '--dynamic-batch',
                '--with-decode',
                '7',
                '--name',
                'other',
                '--output',
                str(tmp_path),
                '--threads',
                '1',
            ]
        )
        == 0
    )
    assert names(tmp_path) == ['other_onnx.onnx', 'other_portable.onnx']
    found = graph.load(str(tmp_path / 'other_onnx.onnx'))
    assert found.inputs[0].shape == ('batch', 3, 96, 128)
    assert [value.shape for value in found.outputs] == [('batch', 7, 4), ('batch', 7), ('batch', 7)]


def test_all_targets_at_once(weights, tmp_path):
    assert main(['export', '--weights', weights, '--output', str(tmp_path)]) == 0
    assert names(tmp_path) == [
        'net.onnx',
        'net_atc.sh',
        'net_onnx.onnx',
        'net_portable.onnx',
        'net_tensorrt.onnx',
    ]


def test_both_steps_of_the_sample(weights, tmp_path, capsys):
    assert main(['export', '--weights', weights, '--raw', '--batch', '2', '--output', str(tmp_path)]) == 0
    assert main(['modify', str(tmp_path / 'net.onnx')]) == 0
    assert names(tmp_path) == ['net.onnx', 'net_modify.onnx', 'net_modify_atc.sh']
    assert 'right names' in capsys.readouterr().out
    assert graph.load(str(tmp_path / 'net_modify.onnx')).inputs[0].shape == (2, 3, 64, 64)
    assert (
        main(
            [
                'modify',
                str(tmp_path / 'net.onnx'),
                '--target',
                'portable',
                '--weights',
                weights,
                '--output',
                str(tmp_path / 'p.onnx'),
            ]
        )
        == 0
    )
    assert graph.load(str(tmp_path / 'p.onnx')).metadata['target'] == 'portable'
    assert (
        main(
            [
                'modify',
                str(tmp_path / 'net.onnx'),
                '--outputs',
                'hm,reg,wh',
                '--output',
                str(tmp_path / 'q.onnx'),
            ]
        )
        == 0
    )
    assert 'as given' in capsys.readouterr().out


@pytest.mark.parametrize(
    'words, message',
    [
        (['export', '--weights', 'no.pth'], 'no.pth'),
        (['export', '--weights', 'WEIGHTS', '--target', 'tpu'], 'tpu'),
        (['export', '--weights', 'WEIGHTS', '--batch', '2', '--dynamic-batch'], 'not allowed with'),
        (['export', '--weights', 'WEIGHTS', '--target', 'tensorrt', '--batch', '2'], 'batch 1 only'),
        (['export', '--weights', 'WEIGHTS', '--input-width', '100'], 'multiple of 32'),
        (['export', '--weights', 'WEIGHTS', '--output', 'WEIGHTS'], 'net.pth'),
        (['export', '--weights', 'WEIGHTS', '--batch', '0'], "'0'"),
        (['modify', 'no.onnx'], 'no.onnx'),
        (['modify', 'WEIGHTS'], 'is not an ONNX model'),
        (['modify', 'no.onnx', '--target', 'tpu'], 'tpu'),
        (['modify', 'no.onnx', '--arch', 'res_18'], '--weights'),
    ],
)
def test_mistakes_take_one_line(words, message, weights, capsys):
    assert main([weights if word == 'WEIGHTS' else word for word in words]) == 2
    error = capsys.readouterr().err
    assert message in error and 'Traceback' not in error


@pytest.mark.parametrize('script, words', [('export_onnx.py', []), ('modify_onnx.py', [])])
def test_the_scripts_have_the_sample_s_paths(script, words, tmp_path):
    (tmp_path / 'models').mkdir()
    environment = dict(os.environ, PYTHONPATH=os.path.join(ROOT, 'src'))
    done = subprocess.run(
        [sys.executable, os.path.join(ROOT, 'src', script)] + words,
        cwd=str(tmp_path),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    assert (
        done.returncode == 2
        and 'models/ctdet_coco_dla_2x.' + ('pth' if 'export' in script else 'onnx') in done.stderr
    )


def test_the_scripts_do_what_the_sample_did(weights, tmp_path):
    folder = tmp_path / 'models'
    folder.mkdir()
    shutil.copy(weights, str(folder / 'ctdet_coco_dla_2x.pth'))
    environment = dict(os.environ, PYTHONPATH=os.path.join(ROOT, 'src'))
    for script in ('export_onnx.py', 'modify_onnx.py'):
        words = [sys.executable, os.path.join(ROOT, 'src', script)] + ['--raw'] * (script == 'export_onnx.py')
        done = subprocess.run(
            words,
            cwd=str(tmp_path),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
        )
        assert done.returncode == 0, done.stdout
    assert names(folder) == [
        'ctdet_coco_dla_2x.onnx',
        'ctdet_coco_dla_2x.pth',
        'ctdet_coco_dla_2x_modify.onnx',
        'ctdet_coco_dla_2x_modify_atc.sh',
    ]
