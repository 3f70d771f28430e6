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
    words = '--arch dla_tiny --input-height 96 --input-width 128 --target onnx portable --dynamic-batch'
    words += f' --with-decode 7 --name other --output {tmp_path} --threads 1'
    assert main(['export', '--weights', weights] + words.split()) == 0
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
    modify = ['modify', str(tmp_path / 'net.onnx'), '--output']
    assert main(modify + [str(tmp_path / 'p.onnx'), '--target', 'portable', '--weights', weights]) == 0
    assert graph.load(str(tmp_path / 'p.onnx')).metadata['target'] == 'portable'
    assert main(modify + [str(tmp_path / 'q.onnx'), '--outputs', 'hm,reg,wh']) == 0
    assert 'as given' in capsys.readouterr().out


@pytest.mark.parametrize(
    'words, message',
    [
        (['export', '--weights', 'no.pth'], 'no.pth'),
        (['export', '--weights', 'WEIGHTS', '--target', 'tpu'], 'tpu'),
        (['export', '--weights', 'WEIGHTS', '--batch', '2', '--dynamic-batch'], 'not allowed with'),
        (['export', '--weights', 'WEIGHTS', '--target', 'tensorrt', '--batch', '2'], 'batch 1 only'),
        (['export', '--weights', 'WEIGHTS', '--input-width', '100'], 'multiples of 32'),
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


def run_script(name, folder, *words):
    """Run one of the sample's scripts in a folder; returns the exit status and the output."""
    done = subprocess.run(
        [sys.executable, os.path.join(ROOT, 'src', name)] + list(words),
        cwd=str(folder),
        env=dict(os.environ, PYTHONPATH=os.path.join(ROOT, 'src')),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    return done.returncode, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize('script, suffix', [('export_onnx.py', '.pth'), ('modify_onnx.py', '.onnx')])
def test_the_scripts_have_the_sample_s_paths(script, suffix, tmp_path):
    status, output = run_script(script, tmp_path)
    assert status == 2 and 'models/ctdet_coco_dla_2x' + suffix in output


def test_the_scripts_do_what_the_sample_did(weights, tmp_path):
    folder = tmp_path / 'models'
    folder.mkdir()
    shutil.copy(weights, str(folder / 'ctdet_coco_dla_2x.pth'))
    for script, words in (('export_onnx.py', ['--raw']), ('modify_onnx.py', [])):
        status, output = run_script(script, tmp_path, *words)
        assert status == 0, output
    stem = 'ctdet_coco_dla_2x'
    suffixes = ('.onnx', '.pth', '_modify.onnx', '_modify_atc.sh')
    assert names(folder) == [stem + suffix for suffix in suffixes]
