"""The sample's first images as dumped inputs, and a command line to judge outputs with."""

import json

import pytest
from devices.stand_in import Device

from centernet import cli

#: images that are evaluated
IMAGES = 10
QUICK = ('--no-progress', '--threads', '1', '--device', 'cpu')


@pytest.fixture(scope='session')
def model(tmp_path_factory):
    """The sample's portable file, with an open batch."""
    folder = str(tmp_path_factory.mktemp('model'))
    words = ['export', '--target', 'portable', '--dynamic-batch', '--output', folder, '--device', 'cpu']
    assert cli.main(words) == 0
    return folder + '/dla_tiny_portable.onnx'


@pytest.fixture(scope='session')
def dumped(tmp_path_factory):
    """A function: options -> folder of ``centernet dump-inputs``; the same options give the same folder."""
    folders = {}

    def dump(*words):
        if words not in folders:
            folder = str(tmp_path_factory.mktemp('dump'))
            argv = ['dump-inputs', '--output', folder, '--limit', str(IMAGES), *QUICK]
            assert cli.main([*argv, '--workers', '0', *words]) == 0
            folders[words] = folder
        return folders[words]

    return dump


@pytest.fixture(scope='session')
def expected(tmp_path_factory, model):
    """The metrics of eval-onnx."""
    folder = tmp_path_factory.mktemp('expected')
    words = ['eval-onnx', model, '--limit', str(IMAGES), '--workers', '0', *QUICK]
    assert cli.main([*words, '--output', str(folder)]) == 0
    return json.loads((folder / 'metrics.json').read_text())['metrics']


@pytest.fixture
def device(model):
    """A function: options -> a stand-in for a device."""
    return lambda **options: Device(options.pop('model', model), **options)


@pytest.fixture
def judge(tmp_path, capsys, monkeypatch):
    """A function that runs ``centernet eval-outputs``: (status, JSON or None, text on stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(outputs, folder, *words):
        capsys.readouterr()
        argv = ['eval-outputs', outputs, '--manifest', folder, '--output', str(tmp_path / 'judged'), '--json']
        status = cli.main([*argv, *QUICK, *words])
        out, err = capsys.readouterr()
        assert 'Traceback' not in err
        return status, json.loads(out) if out else None, err

    return run
