"""``centernet eval-pth`` on painted pictures, for the tests of this folder."""

import json

import pytest
import torch
from support.changed_sample import IMAGES
from support.painted import write_data

from centernet import cli
from centernet.networks.architectures import create_model
from centernet.sample import sample_folder


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """Commands write into ./output unless told otherwise."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope='session')
def save_weights():
    """A function that writes a checkpoint of dla_tiny with random weights, and more entries on request."""

    def save(path, classes=2, **meta):
        torch.manual_seed(3)
        model = create_model('dla_tiny', {'hm': classes, 'wh': 2, 'reg': 2})
        torch.save(
            dict(
                {'epoch': 7, 'arch': 'dla_tiny', 'input_size': [64, 64], 'state_dict': model.state_dict()},
                **meta,
            ),
            str(path),
        )
        return path

    return save


@pytest.fixture(scope='module')
def weights(tmp_path_factory, save_weights):
    return save_weights(tmp_path_factory.mktemp('weights') / 'tiny.pth')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp('data') / 'data')


@pytest.fixture
def eval_pth(weights, folder, tmp_path, capsys):
    """A function that runs ``centernet eval-pth`` with further options, or other values; None omits one.

    It returns (status, stdout, stderr).
    """

    def run(*words, **flags):
        given = {
            'weights': weights,
            'data': folder,
            'output': tmp_path / 'out',
            'device': 'cpu',
            'threads': 1,
        }
        given.update(flags)
        argv = ['eval-pth', '--no-progress']
        for name, value in given.items():
            argv += [] if value is None else ['--' + name.replace('_', '-'), str(value)]
        status = cli.main(argv + list(words))
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def refused(eval_pth):
    """A function that runs it with a mistake: exit status 2, and one line on stderr, which it returns."""

    def run(*words, **flags):
        status, _, err = eval_pth(*words, **flags)
        errors = [line for line in err.splitlines() if 'error' in line]
        assert status == 2
        assert 'Traceback' not in err
        assert err.splitlines()[-1] == errors[0]
        assert errors[0].startswith('centernet: error: ')
        return errors[0][len('centernet: error: ') :]

    return run


@pytest.fixture(scope='session')
def sample(tmp_path_factory):
    """The folder of the built-in sample's images."""
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


@pytest.fixture(scope='session')
def plain_file(tmp_path_factory):
    """The sample's portable file."""
    folder = str(tmp_path_factory.mktemp('plain'))
    assert cli.main(['export', '--target', 'portable', '--output', folder]) == 0
    return folder + '/dla_tiny_portable.onnx'
