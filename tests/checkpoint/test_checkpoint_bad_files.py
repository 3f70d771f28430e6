"""What read_checkpoint refuses: every file below is an error of one line that names the file; none runs code
or takes memory."""

import argparse
import os
import random
import struct
import tarfile
import zipfile
from collections import OrderedDict

import pytest
import torch
from support.checkpoint_files import FORMS, ONE, claim, refusal, save, write, write_legacy, write_zip

from centernet.checkpoint import file_formats, read_checkpoint
from centernet.errors import CheckpointError

# not a file, or not a checkpoint


def test_no_such_file(tmp_path):
    assert 'not found' in refusal(tmp_path / 'none.pth')


def test_a_folder(tmp_path):
    assert 'is a folder' in refusal(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read every file')
def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / 'a.pth').write_bytes(b'PK')
    (tmp_path / 'a.pth').chmod(0)
    assert 'Permission denied' in refusal(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    'content, says',
    [
        (b'', 'is empty'),
        (
            b'<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>',
            'is a web page ("Google Drive - Quota exceeded"), not a checkpoint',
        ),
        (b'\xef\xbb\xbf\n  <HTML><body>Virus scan warning</body></HTML>', 'is a web page, not a checkpoint'),
        (b'<html><title>a\nb\x1b[31m</title>', 'is a web page ("a b[31m")'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n', 'is a Git LFS pointer'),
        (b'{"error": "not found"}', 'is not a checkpoint of torch.save: it starts with'),
        (b'\x80\x02}q\x00.', 'is not a checkpoint of torch.save: it is a pickle of something else'),
        (b'\x80\x02', 'is not a checkpoint of torch.save'),
        (b'PK\x03\x04', 'is truncated or damaged'),
        (b'\x1f\x8b\x08\x00', 'is not a checkpoint of torch.save'),
    ],
)
def test_what_is_no_checkpoint(tmp_path, content, says):
    (tmp_path / 'file.pth').write_bytes(content)
    assert says in refusal(tmp_path / 'file.pth')


def test_random_bytes(tmp_path):
    draw = random.Random(0)
    for size in (1, 10, 1000, 100000):
        (tmp_path / 'random.pth').write_bytes(bytes(draw.getrandbits(8) for _ in range(size)))
        assert 'is not a checkpoint' in refusal(tmp_path / 'random.pth')


def test_a_tar_archive(tmp_path):
    (tmp_path / 'pickle').write_bytes(b'')
    with tarfile.open(str(tmp_path / 'old.pth'), 'w') as archive:
        archive.add(str(tmp_path / 'pickle'), 'pickle')
    assert 'is a tar archive' in refusal(tmp_path / 'old.pth')


def test_zip_archives_that_are_no_checkpoint(tmp_path):
    path = tmp_path / 'a.pth'
    with zipfile.ZipFile(str(path), 'w') as archive:
        archive.writestr('readme.txt', 'hello')
    assert 'without data.pkl' in refusal(path)
    write_zip(path, claim(ONE), {'0': bytes(16)}, compression=zipfile.ZIP_DEFLATED)
    assert 'compressed' in refusal(path)


def test_a_torchscript_program(tmp_path):
    """torch.load runs one, whatever its pickle_module admits."""
    write_zip(tmp_path / 'a.pth', b'\x80\x02c__torch__\nNet\n)\x81.', {}, constants__pkl=b'\x80\x02).')
    with zipfile.ZipFile(str(tmp_path / 'a.pth'), 'a', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('archive/code/__torch__.py', b'#' * 100)
    message = refusal(tmp_path / 'a.pth')
    assert 'type __torch__.Net' in message and 'save model.state_dict() instead' in message


# cut off or damaged


@pytest.mark.parametrize('form', FORMS)
def test_a_file_cut_off_anywhere(tmp_path, form):
    save(
        tmp_path / 'whole.pth',
        {'epoch': 1, 'state_dict': OrderedDict([('a', torch.ones(50)), ('b', torch.zeros(9))])},
        form,
    )
    whole = (tmp_path / 'whole.pth').read_bytes()
    for length in list(range(1, len(whole), 37)) + [len(whole) - 1]:
        (tmp_path / 'cut.pth').write_bytes(whole[:length])
        message = refusal(tmp_path / 'cut.pth')
        if length > 40:
            assert 'truncated' in message, (length, message)


@pytest.mark.parametrize('form', FORMS)
def test_a_flipped_bit_is_never_a_traceback(tmp_path, form):
    save(tmp_path / 'whole.pth', {'epoch': 1, 'state_dict': {'a': torch.ones(50), 'b': torch.zeros(9)}}, form)
    whole = (tmp_path / 'whole.pth').read_bytes()
    draw, refused = random.Random(0), 0
    for _ in range(300):
        changed = bytearray(whole)
        changed[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        (tmp_path / 'changed.pth').write_bytes(changed)
        try:
            read_checkpoint(tmp_path / 'changed.pth')
        except CheckpointError as error:
            assert '\n' not in str(error)
            refused += 1
    assert refused > 50


@pytest.mark.parametrize('form', FORMS)
def test_a_storage_that_claims_more_than_the_file_has(tmp_path, form):
    for count in (5, 10**6, 1 << 61):
        data = claim({'w': ('FloatStorage', '0', count, 0, (4,), (1,))})
        write(tmp_path / 'a.pth', form, data, {'0': (count, bytes(16))})
        assert 'damaged' in refusal(tmp_path / 'a.pth')


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize(
    'offset, size, stride',
    [
        (0, (5,), (1,)),
        (1, (4,), (1,)),
        (0, (2, 2), (3, 1)),
        (4, (), ()),
        (0, (1 << 40,), (0,)),
        (0, (1 << 40, 1 << 40), (0, 0)),
        (-1, (1,), (1,)),
        (0, (-1,), (1,)),
        (0, (2,), (-1,)),
        (0, (2, 2), (1,)),
        (0, (1 << 64,), (1,)),
    ],
)
def test_a_tensor_that_does_not_fit_its_storage(tmp_path, form, offset, size, stride):
    write(
        tmp_path / 'a.pth',
        form,
        claim({'w': ('FloatStorage', '0', 4, offset, size, stride)}),
        {'0': (4, bytes(16))},
    )
    assert 'damaged' in refusal(tmp_path / 'a.pth')


@pytest.mark.parametrize('form', FORMS)
def test_many_tensors_of_one_storage_do_not_add_up(tmp_path, form):
    data = claim({str(i): ('HalfStorage', '0', 1 << 20, 0, (1 << 20,), (1,)) for i in range(1000)})
    write(tmp_path / 'a.pth', form, data, {'0': (1 << 20, bytes(2 << 20))})
    assert 'more elements than the file has bytes' in refusal(tmp_path / 'a.pth')


@pytest.mark.parametrize('form', FORMS)
def test_storages_that_contradict_each_other(tmp_path, form):
    twice = dict(ONE, v=('FloatStorage', '0', 2, 0, (2,), (1,)))
    write(tmp_path / 'a.pth', form, claim(twice), {'0': (4, bytes(16))})
    assert 'damaged' in refusal(tmp_path / 'a.pth')
    write(tmp_path / 'b.pth', form, claim(ONE), {'1': (4, bytes(16))})
    assert 'damaged' in refusal(tmp_path / 'b.pth')


def test_legacy_parts_that_are_not_what_they_should_be(tmp_path):
    path, storages = tmp_path / 'a.pth', {'0': (4, bytes(16))}
    write_legacy(path, claim(ONE), storages, version=1002)
    assert 'protocol version' in refusal(path)
    write_legacy(path, claim(ONE), storages, keys=[])
    assert 'no data for storage 0' in refusal(path)
    write_legacy(path, claim(ONE), {'0': (3, bytes(16))})
    assert 'storage 0 has 3 elements, not 4' in refusal(path)


@pytest.mark.parametrize('form', FORMS)
def test_a_memo_index_takes_no_memory(tmp_path, form):
    """The C unpickler answers this pickle of 9 bytes with an array of 32 GiB."""
    write(tmp_path / 'a.pth', form, b'\x80\x02}r\xff\xff\xff\x7f.', {})
    assert 'holds no state dict' in refusal(tmp_path / 'a.pth')


@pytest.mark.parametrize('form', FORMS)
def test_more_beside_the_weights_than_is_read(tmp_path, form, monkeypatch):
    monkeypatch.setattr(file_formats, '_MOST_PICKLED', 1 << 12)
    save(tmp_path / 'a.pth', {'state_dict': {'w': torch.ones(2)}, 'log': [0.5] * 1000}, form)
    message = refusal(tmp_path / 'a.pth')
    assert 'more than is read beside the weights' in message and 'damaged' not in message
    assert 'torch.save(model.state_dict(), path)' in message


# plain, but no state dict


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize(
    'saved, says',
    [
        (torch.ones(3), 'type tensor'),
        ([torch.ones(3)], 'type list'),
        (7, 'type int'),
        ({}, 'entries: none'),
        ({'epoch': 3, 'net': {'w': 1.0}}, 'entries: epoch, net'),
        ({'epoch': 3, 'optimizer': {'w': torch.ones(2, 2)}}, 'entries: epoch, optimizer'),
        ({'a\nb\x1b[31m': 3}, 'entries: a b[31m'),
        ({'state_dict': {}}, 'is empty'),
        ({'state_dict': [torch.ones(1)]}, 'type list'),
        ({'state_dict': {'v': 'text'}}, 'holds no tensors; its entries: v'),
        (argparse.Namespace(w=torch.ones(1)), 'type argparse.Namespace, not a state dict'),
        ({'state_dict': {3: torch.ones(1)}}, 'name of type int'),
        ({'module.w': torch.ones(1), 'w': torch.ones(1)}, "'w' twice"),
        ({'module.model.w': torch.ones(1), 'model.w': torch.ones(1)}, "'w' twice"),
    ],
)
def test_what_is_no_state_dict(tmp_path, form, saved, says):
    save(tmp_path / 'a.pth', saved, form)
    assert says in refusal(tmp_path / 'a.pth')


def test_a_damaged_byte_order(tmp_path):
    write_zip(
        tmp_path / 'a.pth',
        claim(ONE).replace(b'NtQ', b'tQ'),
        {'0': struct.pack('<4f', *range(4))},
        byteorder=b'middle',
    )
    assert 'middle' in refusal(tmp_path / 'a.pth')
