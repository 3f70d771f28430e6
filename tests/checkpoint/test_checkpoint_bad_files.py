"""What read_checkpoint refuses: every file below is an error of one line that names the file; none runs code
or takes memory."""

import argparse
import os
import pickle
import random
import re
import struct
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path, PosixPath

import numpy as np
import pytest
import torch
from support.checkpoint_files import Runs, claim, save, write_legacy, write_zip

from centernet.checkpoint import file_formats, read_checkpoint
from centernet.checkpoint.unpickler import Inert, Pickles, Unpickler
from centernet.errors import CheckpointError

FORMS = ['zip', 'legacy']
ONE = {'w': ('FloatStorage', '0', 4, 0, (4,), (1,))}


def refusal(path):
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message and '\n' not in message
    return message


def write(path, form, data, storages):
    """A file of the pickle ``data`` and {key: (count, bytes)}."""
    if form == 'zip':
        write_zip(path, data.replace(b'NtQ', b'tQ'), {key: raw for key, (_, raw) in storages.items()})
    else:
        write_legacy(path, data, storages)


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


# code


def bombs(folder):
    """(Object whose pickle would make a folder when loaded, the folder, the name it asks for)."""
    return Runs(os.mkdir, folder), folder, f'{os.mkdir.__module__}.mkdir'


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize(
    'place', ['value', 'state_dict', 'entry', 'optimizer', 'list', 'options', 'array', 'path']
)
def test_a_pickle_that_would_run_code_is_refused_by_name_and_not_run(tmp_path, form, place):
    bomb, made, name = bombs(str(tmp_path / 'made'))
    good = {'w': torch.ones(2)}
    saved = {
        'value': bomb,
        'state_dict': {'epoch': 1, 'state_dict': bomb},
        'entry': {'state_dict': dict(good, b=bomb)},
        'optimizer': {'state_dict': good, 'optimizer': bomb},
        'list': {'state_dict': good, 'more': [(bomb,)]},
        'options': {'state_dict': good, 'opt': argparse.Namespace(hook=bomb)},
        'array': {'state_dict': good, 'history': np.array([bomb])},
        'path': {'state_dict': good, 'path': Runs(PosixPath, bomb)},
    }[place]
    save(tmp_path / 'bomb.pth', saved, form)
    message = refusal(tmp_path / 'bomb.pth')
    assert f'asks for {name}, which' in message and 'was not run' in message
    assert not os.path.exists(made)
    pickle.loads(pickle.dumps(bomb))
    assert os.path.exists(made), 'the bomb is one'


@pytest.mark.parametrize('protocol', [0, 1, 2, 3, 4])
def test_a_plain_pickle_that_would_run_code(tmp_path, protocol):
    bomb, made, name = bombs(str(tmp_path / 'made'))
    (tmp_path / 'bomb.pth').write_bytes(pickle.dumps(bomb, protocol))
    assert f'is a pickle that asks for {name}, which was not run' in refusal(tmp_path / 'bomb.pth')
    assert not os.path.exists(made)


@pytest.mark.parametrize('part', ['version', 'system', 'keys'])
def test_code_in_the_other_pickles_of_the_legacy_format(tmp_path, part):
    bomb, made, name = bombs(str(tmp_path / 'made'))
    write_legacy(tmp_path / 'bomb.pth', claim(ONE), {'0': (4, bytes(16))}, **{part: bomb})
    assert name in refusal(tmp_path / 'bomb.pth')
    assert not os.path.exists(made)


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize(
    'asked',
    [
        b'cbuiltins\neval\n',
        b'cbuiltins\ngetattr\n',
        b'ctorch\nload\n',
        b'ctorch.storage\n_load_from_bytes\n',
        b'cnumpy.core.multiarray\nfrombuffer\n',
        b'cbuiltins\ntype\n',
        b'ctorch\nTensor\n',
        b'ctorch._utils\n_rebuild_sparse_tensor\n',
        b'ccollections\nnamedtuple\n',
        b'ctorch.nn.modules.conv\nConv2d\n',
        b'ccenternet.files\nsha256\n',
        b'ctorch._utils\ntorch.load\n',
    ],
)
def test_calls_of_names_outside_the_list_are_refused(tmp_path, form, asked):
    write(tmp_path / 'a.pth', form, b'\x80\x02' + asked + b')R.', {})
    name = asked[1:-1].decode().replace('\n', '.')
    assert f'asks for {name}, ' in refusal(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    'opcodes',
    [
        b'(cos\nsystem\nX\x04\x00\x00\x00trueo.',
        b'(ios\nsystem\n.',
        b'\x8c\x02os\x8c\x06system\x93)R.',
        b'cbuiltins\ngetattr\ncos\npath\n\x8c\x06system\x86R)R.',
        b'ccopyreg\n__newobj__\ncos\nsystem\n\x85R0cos\nsystem\n)R.',
    ],
    ids=['OBJ', 'INST', 'STACK_GLOBAL', 'getattr', 'after an object'],
)
@pytest.mark.parametrize('form', FORMS)
def test_other_ways_to_call_a_function_are_refused(tmp_path, form, opcodes):
    write(tmp_path / 'a.pth', form, b'\x80\x04' + opcodes, {})
    assert re.search(r'asks for os\.(path\.)?system, which', refusal(tmp_path / 'a.pth'))


@pytest.mark.parametrize(
    'opcodes',
    [
        b'\x82\x01.',
        b'Pkey\n.',
        b'\x80\x06N.',
        b'\x96\xff\xff\xff\xff\xff\xff\xff\x7f.',
        b'ctorch\nSize\n)R)R.',
        b'ctorch\nSize\n)R)\x81.',
        b'N)R.',
        b'N)\x81.',
        b'ctorch\nSize\nN\x81.',
        b'ccopyreg\n_reconstructor\n)R.',
        b'ccopyreg\n_reconstructor\nNNN\x87R.',
        b'cbuiltins\ndict\nX\x01\x00\x00\x00wNs.',
        b'}(Nu.',
        b'c' + b'x' * 300 + b'\ny\n.',
        b'L' + b'7' * 20000 + b'\n.',
    ],
)
@pytest.mark.parametrize('form', FORMS)
def test_opcodes_that_no_checkpoint_has(tmp_path, form, opcodes):
    write(tmp_path / 'a.pth', form, b'\x80\x02' + opcodes, {})
    assert 'is truncated or damaged' in refusal(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    'value',
    [
        argparse.Namespace(a=1),
        Path('a'),
        torch.device('cpu'),
        torch.Size([1]),
        np.float32(1),
        np.arange(3),
        np.dtype('O'),
        {1},
        slice(1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_admitted_names_are_recorded_and_not_called(value):
    assert type(Unpickler(Pickles(pickle.dumps(value, 2))).load()) is Inert


def test_the_state_of_an_object_cannot_hide_its_methods(tmp_path):
    for form in FORMS:
        data = (
            b'\x80\x02ccollections\nOrderedDict\n)R(X\x01\x00\x00\x00w'
            + claim(ONE)[claim(ONE).index(b'ctorch._utils') : -2]
            + b'u}X\x05\x00\x00\x00itemsX\x01\x00\x00\x00!sb.'
        )
        write(tmp_path / 'a.pth', form, data, {'0': (4, bytes(16))})
        assert list(read_checkpoint(tmp_path / 'a.pth').state_dict) == ['w']


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('entry', [None, 'state_dict', 'model'])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_whole_network_is_refused_with_advice(tmp_path, form, entry):
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1))
    save(tmp_path / 'model.pth', network if entry is None else {'epoch': 3, entry: network}, form)
    message = refusal(tmp_path / 'model.pth')
    assert 'torch.nn.modules.container.Sequential' in message and 'save model.state_dict() instead' in message
    assert entry is None or entry in message


def test_buffers_outside_of_the_pickle(tmp_path):
    for form in FORMS:
        write(tmp_path / 'a.pth', form, b'\x80\x05\x97.', {})
        message = refusal(tmp_path / 'a.pth')
        assert 'protocol 5' in message and 'torch.save(model.state_dict(), path)' in message


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
