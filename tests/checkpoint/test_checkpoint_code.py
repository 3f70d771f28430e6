"""Checkpoints that would run code, or ask for what no checkpoint needs: refused by name, and nothing runs."""

import argparse
import os
import pickle
import re
from pathlib import Path, PosixPath

import numpy as np
import pytest
import torch
from support.checkpoint_files import FORMS, ONE, Runs, claim, refusal, save, write, write_legacy

from centernet.checkpoint import read_checkpoint
from centernet.checkpoint.unpickler import Inert, Pickles, Unpickler


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
