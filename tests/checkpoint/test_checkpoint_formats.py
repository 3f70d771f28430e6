"""What read_checkpoint reads: both formats, with both readers, and what it makes of the content."""

import hashlib
import io
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from support.checkpoint_files import claim, save, write_legacy, write_zip

import centernet.checkpoint.reader as reader_module
from centernet.checkpoint import read_checkpoint
from centernet.compat import HAS_WEIGHTS_ONLY

pytestmark = pytest.mark.usefixtures('reader')
FORMS = ['zip', 'legacy']


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
@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize('with_optimizer', [False, True])
def test_a_training_checkpoint(tmp_path, form, prefix, with_optimizer):
    model = network()
    saved = {
        'epoch': 140,
        'state_dict': OrderedDict((prefix + name, value) for name, value in model.state_dict().items()),
    }
    if with_optimizer:
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
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_a_bare_state_dict(tmp_path, form, prefix):
    state_dict = network().state_dict()
    save(
        tmp_path / 'bare.pth', OrderedDict((prefix + name, value) for name, value in state_dict.items()), form
    )
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
        'ids': {'a': 3},
    }
    assert type(checkpoint.meta['best']) is float and type(checkpoint.meta['step']) is int
    assert checkpoint.epoch is None


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize(
    'epoch, read', [(np.int64(12), 12), ('12', None), (True, None), (12, 12), (None, None)]
)
def test_the_epoch_is_an_int_or_none(tmp_path, form, epoch, read):
    save(tmp_path / 'a.pth', {'epoch': epoch, 'state_dict': {'w': torch.ones(2)}}, form)
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
    if form == 'zip':
        write_zip(tmp_path / 'b.pth', data.replace(b'NtQ', b'tQ'), {'0': raw})
    else:
        write_legacy(tmp_path / 'b.pth', data, {'0': (4, raw)})
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


def test_a_view_of_a_legacy_storage(tmp_path):
    data = claim({'w': ('FloatStorage', '7', 6, 1, (2,), (1,))}, view=('8', 2, 4))
    write_legacy(tmp_path / 'view.pth', data, {'7': (6, struct.pack('<6f', *range(6)))})
    reader_module.HAS_WEIGHTS_ONLY = False  # newer torch versions write no views and read them differently
    assert read_checkpoint(tmp_path / 'view.pth').state_dict['w'].tolist() == [3, 4]


def test_a_zip_file_of_a_big_endian_machine(tmp_path):
    little = io.BytesIO()
    save(tmp_path / 'little.pth', {'w': torch.tensor([1.5, -2.0])}, 'zip')
    little.write((tmp_path / 'little.pth').read_bytes())
    with zipfile.ZipFile(little) as archive:
        data = archive.read(next(name for name in archive.namelist() if name.endswith('data.pkl')))
    write_zip(tmp_path / 'big.pth', data, {'0': struct.pack('>2f', 1.5, -2.0)}, byteorder=b'big')
    assert read_checkpoint(tmp_path / 'big.pth').state_dict['w'].tolist() == [1.5, -2.0]


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


def test_torch_is_asked_for_weights_only_where_it_has_that(tmp_path, monkeypatch, reader):
    calls, load = [], torch.load
    monkeypatch.setattr(torch, 'load', lambda *args, **kwargs: calls.append(kwargs) or load(*args, **kwargs))
    for form in FORMS:
        save(tmp_path / 'a.pth', {'w': torch.ones(1)}, form)
        read_checkpoint(tmp_path / 'a.pth')
    expected = [{'map_location': 'cpu', 'weights_only': True}] * 2
    assert calls == (expected if reader == 'weights_only' else [])
    assert HAS_WEIGHTS_ONLY or reader == 'restricted'
