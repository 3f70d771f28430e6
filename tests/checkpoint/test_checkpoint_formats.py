"""What read_checkpoint reads: both formats, and what it makes of the content."""

import argparse
import hashlib
import struct
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from support.checkpoint_files import FORMS, SAVES_ZIP, claim, save, text, write, write_legacy, write_zip

from centernet.networks.checkpoint import read_checkpoint


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 2, 1))


def same(read, state_dict):
    assert list(read) == list(state_dict)
    assert all(
        read[name].dtype == value.dtype and read[name].shape == value.shape and torch.equal(read[name], value)
        for name, value in state_dict.items()
    )
    return True


@pytest.mark.parametrize('form', FORMS)
def test_a_training_checkpoint(tmp_path, form):
    model = network()
    saved = {
        'epoch': 140,
        'state_dict': OrderedDict(('module.' + name, value) for name, value in model.state_dict().items()),
    }
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    saved['optimizer'] = optimizer.state_dict()
    path = tmp_path / 'model.pth'
    save(path, saved, form)
    checkpoint = read_checkpoint(str(path))
    assert same(checkpoint.state_dict, model.state_dict())
    assert checkpoint.epoch == 140
    assert checkpoint.meta == {}
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize('form', FORMS)
def test_a_bare_state_dict(tmp_path, form):
    state_dict = network().state_dict()
    save(tmp_path / 'bare.pth', state_dict, form)
    checkpoint = read_checkpoint(tmp_path / 'bare.pth')
    assert same(checkpoint.state_dict, state_dict)
    assert checkpoint.epoch is None
    assert checkpoint.meta == {}


@pytest.mark.parametrize('form', FORMS)
def test_the_plain_entries_are_kept_and_the_others_left_out(tmp_path, form):
    saved = {
        'arch': 'dla_tiny',
        'input_size': (128, 96),
        'classes': ['disc', 'box'],
        'lr': {'base': 5e-4, 'drop': [90, 120]},
        'best': np.float64(0.5),
        'step': np.int64(7),
        'flip': True,
        'mean': torch.zeros(3),
        'opt': argparse.Namespace(std=torch.ones(1, 1, 3)),
        'random': torch.ones(17),
        'ids': {1: 2, 'a': 3},
        'state_dict': network().state_dict(),
    }
    save(tmp_path / 'meta.pth', saved, form)
    checkpoint = read_checkpoint(tmp_path / 'meta.pth')
    assert checkpoint.meta == {
        'arch': 'dla_tiny',
        'input_size': [128, 96],
        'classes': ['disc', 'box'],
        'flip': True,
        'lr': {'base': 5e-4, 'drop': [90, 120]},
        'best': 0.5,
        'step': 7,
        'mean': [0, 0, 0],
        'opt': {'std': [[[1, 1, 1]]]},
        'ids': {1: 2, 'a': 3},
    }
    assert type(checkpoint.meta['best']) is float and type(checkpoint.meta['step']) is int
    assert checkpoint.epoch is None


def test_the_epoch_is_an_int_or_none(tmp_path):
    for epoch, read in ((np.int64(12), 12), ('12', None), (True, None), (12, 12), (None, None)):
        save(tmp_path / 'a.pth', {'epoch': epoch, 'state_dict': {'w': torch.ones(2)}}, 'legacy')
        checkpoint = read_checkpoint(tmp_path / 'a.pth')
        assert checkpoint.epoch == read and type(checkpoint.epoch) is type(read)


@pytest.mark.parametrize('form', FORMS)
def test_floating_point_is_float32_and_integers_stay(tmp_path, form):
    values = torch.tensor([1.5, -2.25, 65504.0, 0.0, float('inf')])
    saved = {
        'half': values.half(),
        'single': values,
        'double': values.double(),
        'count': torch.tensor(3),
        'bytes': torch.tensor([1, 255], dtype=torch.uint8),
    }
    save(tmp_path / 'types.pth', saved, form)
    read = read_checkpoint(tmp_path / 'types.pth').state_dict
    for name in ('half', 'single', 'double'):
        assert read[name].dtype == torch.float32 and torch.equal(read[name], values), name
    assert read['count'].dtype == torch.int64 and read['count'].shape == () and read['count'].item() == 3
    assert read['bytes'].tolist() == [1, 255]


@pytest.mark.parametrize('form', FORMS)
def test_bfloat16_is_widened(tmp_path, form):
    values = np.array([1.0, -2.5, 0.15625, 3e38], np.float32)
    raw = (values.view(np.uint32) >> 16).astype('<u2').tobytes()
    expected = (values.view(np.uint32) >> 16 << 16).view(np.float32)
    data = claim(
        {'w': ('BFloat16Storage', '0', 4, 0, (2, 2), (2, 1)), 's': ('BFloat16Storage', '0', 4, 1, (), ())}
    )
    write(tmp_path / 'b.pth', form, data, {'0': (4, raw)})
    read = read_checkpoint(tmp_path / 'b.pth').state_dict
    assert read['w'].dtype == torch.float32
    assert read['w'].numpy().ravel().tolist() == expected.tolist()
    assert read['s'].shape == () and read['s'].item() == -2.5


@pytest.mark.parametrize('form', FORMS)
def test_views_slices_and_parameters(tmp_path, form):
    base = torch.arange(24.0).view(2, 3, 4)
    saved = {
        'transposed': base.permute(2, 0, 1),
        'slice': base[1, 1:, ::2],
        'scalar': base[1, 2, 3],
        'all': base,
        'empty': torch.zeros(0, 3),
        'parameter': torch.nn.Parameter(torch.ones(2)),
    }
    save(tmp_path / 'views.pth', saved, form)
    read = read_checkpoint(tmp_path / 'views.pth').state_dict
    for name, value in saved.items():
        assert read[name].shape == value.shape and torch.equal(read[name], value), name
        assert read[name].is_contiguous() and not read[name].requires_grad


def test_text_that_python_2_wrote(tmp_path):
    data = claim({'w': ('FloatStorage', '0', 1, 0, (1,), (1,))}).replace(b'X\x01\x00\x00\x00w', b'U\x01w')
    write_legacy(tmp_path / 'python2.pth', data, {'0': (1, struct.pack('<f', 2.0))})
    assert read_checkpoint(tmp_path / 'python2.pth').state_dict['w'].tolist() == [2.0]


@pytest.mark.parametrize('protocol', [2, 3, 4])
def test_the_protocols_of_pickle(tmp_path, protocol):
    torch.save(
        {'epoch': 1, 'state_dict': network().state_dict()}, str(tmp_path / 'p.pth'), pickle_protocol=protocol
    )
    assert same(read_checkpoint(tmp_path / 'p.pth').state_dict, network().state_dict())


@pytest.mark.parametrize('form', FORMS)
def test_the_tensors_are_those_that_torch_reads(tmp_path, form):
    """torch's own reading of the same file; torch 1.0.0 reads the legacy format alone."""
    if form == 'zip' and not SAVES_ZIP:
        pytest.skip(f'torch {torch.__version__} cannot read zip files')
    base = torch.randn(6, 5)
    saved = {
        'base': base,
        'rows': base[::2, 1:4],
        'columns': base.t(),
        'half': base.half(),
        'n': torch.ones(()),
    }
    save(tmp_path / 'a.pth', saved, form)
    expected = torch.load(str(tmp_path / 'a.pth'))
    assert same(
        read_checkpoint(tmp_path / 'a.pth').state_dict,
        OrderedDict((name, value.float()) for name, value in expected.items()),
    )


@pytest.mark.parametrize('form', FORMS)
def test_what_training_scripts_leave_beside_the_weights(tmp_path, form):
    """Options, paths, devices, types, arrays and counters do not prevent reading; none is made again."""
    saved = {
        'opt': argparse.Namespace(
            arch='dla_34', heads={'hm': 80}, device=torch.device('cpu'), root=Path('a/b')
        ),
        'path': Path('/data') / 'coco',
        'size': torch.Size([512, 384]),
        'device': torch.device('cuda', 1),
        'numpy_type': np.float32,
        'history': np.arange(3.0),
        'scores': [np.float32(0.25), np.int8(-3), np.bool_(True), np.float64(1e-300), np.uint64(2**63)],
        'big_endian': np.dtype('>f8').type(0.5),
        'counter': Counter('aab'),
        'default': defaultdict(list, lr=[0.1]),
        'members': {1, 2},
        'state_dict': network().state_dict(),
    }
    save(tmp_path / 'a.pth', saved, form)
    checkpoint = read_checkpoint(tmp_path / 'a.pth')
    assert same(checkpoint.state_dict, network().state_dict())
    assert checkpoint.meta == {
        'opt': {'arch': 'dla_34', 'heads': {'hm': 80}, 'device': None, 'root': None},
        'size': [512, 384],
        'scores': [0.25, -3, True, 1e-300, None],
        'history': [0.0, 1.0, 2.0],
        'big_endian': 0.5,
        'counter': {'a': 2, 'b': 1},
        'default': {'lr': [0.1]},
    }
    assert [type(score) for score in checkpoint.meta['scores'][:4]] == [float, int, bool, float]


def test_the_storages_of_an_optimizer_are_not_read(tmp_path):
    data = claim({'w': ('FloatStorage', '0', 1, 0, (1,), (1,))}).replace(b'NtQ', b'tQ')
    optimizer = claim({'m': ('FloatStorage', '1', 3, 0, (3,), (1,))}).replace(b'NtQ', b'tQ')
    saved = b'\x80\x02}(' + text('state_dict') + data[2:-1] + text('optimizer') + optimizer[2:-1] + b'u.'
    write_zip(tmp_path / 'a.pth', saved, {'0': struct.pack('<f', 2.0), '1': b'unread bytes'})
    content = (tmp_path / 'a.pth').read_bytes()
    (tmp_path / 'a.pth').write_bytes(content.replace(b'unread bytes', b'other bytes.'))  # a wrong CRC-32
    assert read_checkpoint(tmp_path / 'a.pth').state_dict['w'].tolist() == [2.0]
