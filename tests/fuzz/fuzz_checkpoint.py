"""Checkpoints: mutated files of both formats and tars, pickles of random opcodes, and what is known to hurt
unpicklers."""

import argparse
import contextlib
import datetime
import io
import json
import os
import pickle
import pickletools
import struct
import tarfile
from collections import Counter, OrderedDict, deque
from pathlib import Path

import numpy as np
import torch
from support.checkpoint_files import claim, number, numbers, save, text, write_legacy, write_zip
from support.fuzzing import MIB
from support.mutations import NUMBERS, mutated

from centernet.networks.checkpoint import load_model, read_checkpoint
from centernet.sample import SAMPLE_WEIGHTS
from centernet.system.errors import CheckpointError

NAME = 'checkpoint'


class _Entries(dict):
    """As EasyDict and CfgNode are."""

    def __init__(self, **entries):
        super().__init__(entries)
        self.frozen = True


class _Object:
    def __init__(self):
        self.lr = 0.5


#: bytes of memory for a byte of the file; a pickle's byte may be an empty set, which is 220
MULTIPLE = 300
_BASE = {}
_NAMES = (
    b'collections\nOrderedDict',
    b'collections\nCounter',
    b'torch._utils\n_rebuild_tensor_v2',
    b'torch._utils\n_rebuild_parameter',
    b'torch\nFloatStorage',
    b'torch\nBFloat16Storage',
    b'torch\nSize',
    b'_codecs\nencode',
    b'numpy\ndtype',
    b'numpy.core.multiarray\nscalar',
    b'builtins\nset',
    b'builtins\nlist',
    b'__builtin__\ntuple',
    b'__builtin__\ndict',
    b'builtins\nfrozenset',
    b'collections\ndefaultdict',
    b'argparse\nNamespace',
    b'numpy\nndarray',
    b'numpy.core.multiarray\n_reconstruct',
    b'pathlib\nPosixPath',
    b'torch\ndevice',
    b'torch\nfloat32',
    b'collections\ndeque',
    b'copyreg\n_reconstructor',
    b'copyreg\n__newobj__',
    b'datetime\ndatetime',
    b'numpy.core.numeric\n_frombuffer',
    b'torch._utils\n_rebuild_parameter_with_state',
    b'train\nOptions',
    b'posix\nmkdir',
    b'os\nsystem',
    b'builtins\neval',
    b'builtins\ngetattr',
)


def prepare(folder):
    path = os.path.join(folder, 'base.pth')
    saved = {
        'epoch': 3,
        'arch': 'dla_tiny',
        'opt': argparse.Namespace(lr=np.float64(0.1), root=Path('a'), device=torch.device('cpu')),
        'history': np.arange(3.0),
        'heads': Counter('aab'),
        'optimizer': {'state': {0: {'step': 1, 'exp': torch.ones(3)}}},
        'state_dict': OrderedDict(
            [
                ('hm.2.weight', torch.ones(2, 4, 1, 1)),
                ('hm.2.bias', torch.zeros(2)),
                ('n', torch.tensor(7)),
                ('half', torch.ones(5).half()),
                ('view', torch.arange(12.0).reshape(3, 4).t()),
            ]
        ),
    }
    beside = {
        'epoch': 3,
        'model': {'module.hm.2.weight': torch.ones(2, 4, 1, 1), 'module.model.hm.2.bias': torch.zeros(2)},
        'ema': {'state_dict': _Entries(w=torch.ones(2, 2)), 'decay': 0.5},
        'options': _Entries(mean=np.ones((1, 1, 3)), inner=_Entries(a=[1, 2]), object=_Object()),
        'arrays': [
            np.asfortranarray(np.ones((2, 3), np.float32)),
            np.zeros(0),
            np.array([None]),
            np.int64(3),
        ],
        'objects': [_Object, len, deque([1, 2]), datetime.datetime(2020, 1, 2), {1: _Object()}],
        'history': {'loss': [0.5 + i for i in range(300)], 'more': [{'a': i, 'b': 0.5} for i in range(50)]},
    }
    for form in ('zip', 'legacy'):
        for name, content in (('', saved), (' beside', beside)):
            save(path, content, form)
            with open(path, 'rb') as file:
                _BASE[form + name] = file.read()
    _BASE['pickle'] = claim(
        {'w': ('FloatStorage', '0', 4, 0, (2, 2), (2, 1)), 'v': ('HalfStorage', '1', 4, 1, (3,), (1,))}
    )
    _BASE['objects'] = pickle.dumps({key: beside[key] for key in ('options', 'arrays', 'objects')}, 4)
    _BASE['protocol 5'] = _protocol_5()
    with open(SAMPLE_WEIGHTS, 'rb') as file:
        _BASE['sample'] = file.read()


def make(draw, folder, canary):
    path = os.path.join(folder, 'case.pth')
    kind = draw.choice(('file', 'file', 'pickle', 'pickle', 'opcodes', 'opcodes', 'bomb', 'tar', 'sample'))
    if kind == 'file':
        name = draw.choice(('zip', 'legacy', 'zip beside', 'legacy beside'))
        _write(path, mutated(draw, _BASE[name], (_BASE['zip'], _BASE['legacy beside'], _BASE['objects'])))
    elif kind == 'sample':
        _write(path, mutated(draw, _BASE['sample']) if draw.random() < 0.8 else _BASE['sample'])
    elif kind == 'tar':
        _write(path, _tar(draw))
    else:
        data = (
            mutated(
                draw,
                _BASE[draw.choice(('pickle', 'objects', 'protocol 5'))],
                (_attack(canary), _BASE['protocol 5'], _BASE['objects']),
            )
            if kind == 'pickle'
            else _opcodes(draw, canary)
            if kind == 'opcodes'
            else _bomb(draw)
        )
        storages = {'0': (4, bytes(16)), '1': (4, bytes(8))}
        part = draw.choice(('zip', 'legacy', 'legacy', 'keys', 'version', 'alone'))
        if part == 'zip':
            write_zip(path, data.replace(b'NtQ', b'tQ'), {key: raw for key, (_, raw) in storages.items()})
        elif part == 'alone':
            _write(path, data)
        elif part == 'legacy':
            write_legacy(path, data, storages)
        else:
            write_legacy(
                path, claim({'w': ('FloatStorage', '0', 4, 0, (4,), (1,))}), storages, **{part: data}
            )
    return path


def run(path):
    """The reader, and for what it lets through the rest of the way to a network."""
    for key in ('model', 'ema.state_dict'):
        with contextlib.suppress(CheckpointError):
            read_checkpoint(path, key)
    read = read_checkpoint(path)
    json.dumps(read.meta)
    for tensor in read.state_dict.values():
        float(tensor.double().sum())  # touches its memory
    if os.path.getsize(path) > MIB:
        load_model(path, 'dla_tiny')


def allowance(path):
    # the network itself, and what torch takes at once for any
    return 96 * MIB + MULTIPLE * min(os.path.getsize(path), MIB) + 8 * os.path.getsize(path)


def _write(path, data):
    with open(path, 'wb') as file:
        file.write(data)


def _protocol_5():
    """A state dict, and an array as Python 3.8 and newer write it."""
    dtype = b'cnumpy\ndtype\n' + text('f8') + b'\x89\x88\x87R(K\x03' + text('<') + b'NNNJ\xff\xff\xff\xffJ'
    dtype += b'\xff\xff\xff\xffK\x00tb'
    data = b'\x96' + struct.pack('<Q', 24) + bytes(24)
    array = (
        b'cnumpy._core.numeric\n_frombuffer\n(' + data + dtype + b'K\x01K\x01K\x03\x87' + text('C') + b'tR'
    )
    body = b'}(' + text('state_dict') + _BASE['pickle'][2:-1] + text('mean') + array + b'u.'
    return b'\x80\x05\x95' + struct.pack('<Q', len(body)) + body


def _attack(canary):
    return b'\x80\x02cposix\nmkdir\n' + text(canary) + b'\x85R.'


def _tar(draw):
    """An archive as torch before 0.2 wrote it, with headers that announce much."""
    buffer = io.BytesIO()
    form = draw.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    with tarfile.open(fileobj=buffer, mode='w', format=form) as archive:
        for name in (
            'pickle',
            'storages',
            'tensors',
            'long' * draw.randrange(1, 20 if form == tarfile.USTAR_FORMAT else 80),
        ):
            header = tarfile.TarInfo(name)
            header.size = 40
            header.pax_headers = {'comment': '1' * draw.randrange(2000)} if form == tarfile.PAX_FORMAT else {}
            archive.addfile(header, io.BytesIO(bytes(40)))
    return mutated(draw, buffer.getvalue(), (_BASE['legacy'],))


def _opcodes(draw, canary):
    """A pickle of random opcodes with arguments of the right form, which refer to each other often enough to
    go far."""
    parts = [b'\x80\x02']
    for _ in range(draw.choice((3, 10, 40))):
        opcode = draw.choice(pickletools.opcodes)
        if opcode.name in ('STOP', 'POP', 'POP_MARK') and draw.random() < 0.8:
            continue
        if draw.random() < 0.3:
            parts.append(
                draw.choice(
                    (
                        b'(',
                        b')',
                        b'}',
                        b']',
                        b'N',
                        b'\x85',
                        b'\x86',
                        b'R',
                        b'0',
                        b'2',
                        b's',
                        b'u',
                        b'Q',
                        b'h\x00',
                        b'q\x00',
                        b'(lp0\n',
                        b'\x81',
                        b'b',
                        b'e',
                        b'ctrain\nOptions\n)\x81',
                        b'cnumpy\nndarray\n',
                        b'\x96\x03' + bytes(7) + b'abc',
                        _BASE['objects'][11:-1],
                        _BASE['protocol 5'][11:-1],
                        _BASE['pickle'][2:-1],
                    )
                )
            )
        parts.append(opcode.code.encode('latin1') + _argument(draw, opcode, canary))
    return b''.join(parts) + b'.'


def _argument(draw, opcode, canary):
    name = opcode.arg.name if opcode.arg else None
    if name is None:
        return b''
    if opcode.name in ('GLOBAL', 'INST'):
        return draw.choice(_NAMES) + b'\n'
    length = draw.randrange(20)
    raw = draw.choice(
        (
            bytes(draw.getrandbits(8) for _ in range(length)),
            b'storage',
            b'FloatStorage',
            canary.encode(),
            b'0',
            b'w',
        )
    )
    value = draw.choice(NUMBERS) if draw.random() < 0.2 else draw.randrange(6)
    if name in ('uint1', 'uint2', 'int4', 'uint4', 'uint8'):
        size = int(name[-1])
        return (value & ((1 << 8 * size) - 1)).to_bytes(size, 'little')
    if name.endswith(('1', '4', '8')):
        if name == 'float8':
            return struct.pack('>d', draw.choice((0.0, 1.5, float('nan'), float('inf'))))
        size = int(name[-1])
        stated = len(raw) if draw.random() < 0.9 else value
        return (stated & ((1 << 8 * size) - 1)).to_bytes(size, 'little') + raw
    if name.startswith('decimalnl'):
        return str(value).encode() + draw.choice((b'\n', b'L\n'))
    if name == 'floatnl':
        return b'1e5\n'
    return draw.choice((b"'text'", b'text', canary.encode(), b'\\u0000')) + b'\n'


def _bomb(draw):
    """A pickle of a few hundred to some ten thousand bytes that asks for a lot."""
    many = draw.choice((50, 500, 5000))
    kind = draw.randrange(19)
    # Each level holds the one below twice. Not as a key: hashing it takes for ever, in one's own file.
    nested = b')' + b'2\x86' * min(many, 500)
    if kind == 0:
        return b'\x80\x02}' + text('opt') + nested + b's.'
    if kind == 1:
        return b'\x80\x04](' + nested + b'e.'
    if kind == 2:
        return b'\x80\x02}' + b')' + b'\x85' * many + b'Ns.'  # deep
    if kind == 3:
        return b'\x80\x02' + b']' * many + b'a' * (many - 1) + b'.'
    if kind == 4:  # copies of one text
        return (
            b'\x80\x02'
            + text('x' * 20000)
            + b'q\x000('
            + b'c_codecs\nencode\nh\x00'
            + text('latin1')
            + b'\x86R'
            + (b'c_codecs\nencode\nh\x00' + text('latin1') + b'\x86R') * many
            + b't.'
        )
    if kind == 5:  # copies of one list
        return b'\x80\x02](' + b'N' * 20000 + b'eq\x000(' + b'c__builtin__\nlist\nh\x00\x85R' * many + b't.'
    if kind == 6:  # as what is printed
        return b'\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(' + nested + b'N)))NtR.'
    if kind == 7:
        return b'\x80\x02(' + nested + b'ctorch\nFloatStorage\nNNK\x01tQ.'
    if kind == 8:
        return b'\x80\x02(' + text('storage') + b'ctorch\nFloatStorage\n' + nested + b'NK\x01tQ.'
    if kind == 9:  # long numbers
        digits = struct.pack('<i', 200 * many) + b'\x7f' * (200 * many)
        return (
            b'\x80\x02}('
            + text('epoch')
            + b'\x8b'
            + digits
            + text('state_dict')
            + claim({'w': ('FloatStorage', '0', 4, 0, (4,), (1,))})[2:-1]
            + b'u.'
        )
    if kind == 10:  # many tensors of one storage
        one = {str(i): ('FloatStorage', '0', 4, 0, (1,), (1,)) for i in range(many)}
        return claim(one)
    if kind == 11:
        return b'\x80\x04' + b'\x8f\x94' * many * 10 + b'.'
    if kind == 12:  # copies of one list as dictionaries
        pairs = b'](' + b'NN\x86' * 1000 + b'eq\x00(' + b'ccollections\nOrderedDict\nq\x01'
        return b'\x80\x02' + pairs + b'h\x01h\x00\x85R' * many + b't.'
    if kind == 13:  # names of long texts
        return b'\x80\x04' + text('x' * 20000) + b'q\x00(' + b'h\x00h\x00\x93' * many + b't.'
    if kind == 14:  # names that grow
        return (
            b'\x80\x02ca\nb\nq\x00'
            + (b'0cbuiltins\ngetattr\nh\x00' + text('x' * 99) + b'\x86Rq\x00') * many
            + b'.'
        )
    if kind == 15:  # one dictionary under many names, and in many
        one = b'\x80\x02}(' + b''.join(text(str(i)) + b'N' for i in range(many)) + b'uq\x00'
        return one + b'}(' + b''.join(text(str(i)) + b'h\x00' for i in range(many)) + b'u.'
    if kind == 16:  # one array many times
        array = _BASE['protocol 5']
        array = array[array.index(b'cnumpy._core.numeric') : -2]
        array = array.replace(struct.pack('<Q', 24) + bytes(24), struct.pack('<Q', 60000) + bytes(60000))
        array = array.replace(
            b'K\x01K\x01K\x03\x87', b'M\x4c\x1d\x85' if draw.random() < 0.5 else b'K\x00' * 3 + b'\x87'
        )
        state = text('state_dict') + _BASE['pickle'][2:-1]
        return (
            b'\x80\x05}('
            + state
            + text('a')
            + array
            + b'q\x000'
            + text('b')
            + b']('
            + b'h\x00' * many
            + b'eu.'
        )
    if kind == 17:  # an array of many empty lists
        array = _BASE['protocol 5'].replace(struct.pack('<Q', 24) + bytes(24), bytes(8))
        sides = number(draw.choice(NUMBERS)), number(draw.choice(NUMBERS))
        return array.replace(b'K\x01K\x01K\x03\x87', sides[0] + sides[1] + b'K\x00\x87')
    sizes = tuple(draw.choice(NUMBERS) for _ in range(draw.randrange(4)))
    storage = text('storage') + b'ctorch\nFloatStorage\n' + text('0') + text('cpu')
    return (
        b'\x80\x02}('
        + text('w')
        + b'ctorch._utils\n_rebuild_tensor_v2\n(('
        + storage
        + number(4)
        + b'NtQ'
        + number(draw.choice(NUMBERS))
        + numbers(sizes)
        + numbers(sizes)
        + b'\x89)tRu.'
    )
