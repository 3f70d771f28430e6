"""What is beside the weights: objects of any class are read without calling anything, arrays become lists,
and pickles of protocol 5 are read by every Python."""

import argparse
import copyreg
import datetime
import enum
import pickle
import struct
import time
from collections import OrderedDict, deque
from pathlib import Path

import numpy as np
import pytest
import torch
from support.checkpoint_files import FORMS, claim, save, text, write, write_zip

from centernet.networks.checkpoint import read_checkpoint
from centernet.networks.checkpoint.meta import plain_values
from centernet.networks.checkpoint.unpickler import Inert, Pickles, Unpickler
from centernet.system.errors import CheckpointError

PLAIN = (bool, bytes, float, int, str, type(None))


class Options:
    """An object of a class that only the training script has."""

    def __init__(self):
        self.lr = 0.5


class Config(dict):
    """As EasyDict and CfgNode are: entries, and attributes."""

    def __init__(self, **entries):
        super().__init__(entries)
        self.frozen = True


class History(list):
    pass


class Version(str):
    """As TorchVersion is."""


class Old:
    """Pickled by copyreg._reconstructor, as in protocols 0 and 1."""

    def __reduce__(self):
        return copyreg._reconstructor, (Old, object, None), {'lr': 0.5}


class WithKeywords:
    def __new__(cls, *, lr):
        return super().__new__(cls)

    def __getnewargs_ex__(self):
        return (), {'lr': 0.5}


def hook():
    pass


def read(path, form='legacy', **beside):
    save(path / 'a.pth', dict(beside, state_dict={'w': torch.ones(2)}), form)
    found = read_checkpoint(path / 'a.pth')
    assert found.state_dict['w'].tolist() == [1, 1]
    return found.meta


LEFT_OUT = [
    Options(),
    History([1, 2]),
    Version('1.0'),
    Old(),
    hook,
    Options,
    print,
    np.bool_,
    torch.device('cuda', 1),
    datetime.datetime(2020, 1, 2, 3, 4),
    datetime.timedelta(1),
    deque([1, 2], 5),
    {1, 2},
    frozenset([1]),
    np.array(['text']),
    np.array([None]),
    np.zeros(1 << 20),
    np.complex64(1),
    range(3),
    complex(1, 2),
    b'bytes',
    bytearray(b'bytes'),
]


@pytest.mark.parametrize('form', FORMS)
def test_what_is_left_out(tmp_path, form):
    meta = read(
        tmp_path, form, opt=argparse.Namespace(**{f'v{i}': v for i, v in enumerate(LEFT_OUT)}), lr=0.5
    )
    assert meta == {'opt': {f'v{i}': None for i in range(len(LEFT_OUT))}, 'lr': 0.5}
    assert read(tmp_path, form, **{f'v{i}': value for i, value in enumerate(LEFT_OUT)}) == {}


@pytest.mark.parametrize('protocol', [2, 4])
def test_values_are_recorded_and_not_made(protocol):
    """Whatever the classes are, no object of theirs exists, nor do the classes."""
    values = [*LEFT_OUT, Path('a'), np.float32(1), np.arange(3), np.dtype('O'), Config(lr=Options)]
    values += [argparse.Namespace(a=1), {Options: hook}, [Options()], torch.Size([1])]
    stack, seen = [Unpickler(Pickles(pickle.dumps(values, protocol))).load()], 0
    while stack:
        part, seen = stack.pop(), seen + 1
        if type(part) is Inert:
            assert type(part.name) is str
            stack += [part.args, part.state, part.entries]
        elif type(part) in (list, tuple):
            stack += list(part)
        elif type(part) in (dict, OrderedDict):
            stack += list(part) + list(part.values())
        else:
            assert type(part) in PLAIN, part
    assert seen > 100


@pytest.mark.parametrize('form', FORMS)
def test_a_dictionarys_subclass_is_a_dictionary(tmp_path, form):
    value = Config(lr=0.5, inner=Config(steps=[90, 120], made=Options()))
    expected = {'lr': 0.5, 'inner': {'steps': [90, 120], 'made': None}}
    assert read(tmp_path, form, value=value, opt=argparse.Namespace(more=value)) == {
        'value': expected,
        'opt': {'more': expected},
    }


@pytest.mark.parametrize('protocol', [0, 1, 2, 3, 4])
@pytest.mark.parametrize('value', [Options(), Config(lr=0.5), History([1]), Old(), WithKeywords(lr=1)])
def test_objects_of_every_protocol(value, protocol):
    """Keywords are pickled as a call of functools.partial before protocol 4, which is refused."""
    if type(value) is WithKeywords and protocol < 4:
        pytest.skip('a call of functools.partial or copyreg.__newobj_ex__')
    found = Unpickler(Pickles(pickle.dumps(value, protocol))).load()
    assert type(found) is Inert and found.name == f'{__name__}.{type(value).__name__}'
    assert found.entries == ({'lr': 0.5} if type(value) is Config else None)
    if type(value) in (Options, Old):
        assert found.state == {'lr': 0.5}


def test_what_a_class_has_inside(tmp_path):
    """Protocols before 4 name it by a call of getattr, which is a reference here."""
    reference = b'c__builtin__\ngetattr\nc' + __name__.encode() + b'\nOptions\n' + text('run') + b'\x86R'
    tensor = claim({'w': ('FloatStorage', '0', 1, 0, (1,), (1,))})[2:-1]
    data = b'\x80\x02}(' + text('state_dict') + tensor + text('hook') + reference + b'u.'
    write(tmp_path / 'a.pth', 'legacy', data, {'0': (1, bytes(4))})
    assert read_checkpoint(tmp_path / 'a.pth').meta == {}


def test_a_class_that_is_called_is_refused_by_name(tmp_path):
    """An enumeration's members are pickled as calls, which could be calls of anything."""
    save(tmp_path / 'a.pth', {'state_dict': {'w': torch.ones(2)}, 'phase': PHASE}, 'legacy')
    with pytest.raises(CheckpointError, match=r'the Python object .*Phase; .* no code was run: save'):
        read_checkpoint(tmp_path / 'a.pth')


class Phase(enum.Enum):
    TRAIN = 'train'

    def __reduce_ex__(self, protocol):
        return Phase, ('train',)


PHASE = Phase.TRAIN


@pytest.mark.parametrize('form', FORMS)
def test_arrays_are_lists(tmp_path, form):
    mean = np.array([0.408, 0.447, 0.470], np.float32).reshape(1, 1, 3)
    meta = read(
        tmp_path,
        form,
        opt=argparse.Namespace(mean=mean, std=mean.astype('>f8'), flip=np.array([[1, 2], [3, 4]])),
        columns=np.asfortranarray(np.arange(6).reshape(2, 3)),
        scalar=np.array(7, np.uint8),
        flags=np.array([True, False]),
        none=np.zeros((0, 1 << 20)),
        many=np.arange(5000, dtype=np.int16),
    )
    assert meta['opt']['mean'] == mean.tolist() and np.shape(meta['opt']['mean']) == (1, 1, 3)
    assert meta['opt']['std'] == mean.astype(float).tolist()
    assert meta['opt']['flip'] == [[1, 2], [3, 4]]
    assert meta['columns'] == [[0, 1, 2], [3, 4, 5]]
    assert (meta['scalar'], meta['flags'], meta['none']) == (7, [True, False], [])
    assert meta['many'] == list(range(5000))


def test_what_comes_after_a_long_history_is_kept(tmp_path):
    histories = {f'history{i}': [[0.5] * 100] * 90 for i in range(15)}
    meta = read(tmp_path, long=[0.5] * 200000, nested=[[0.5] * 5000] * 50, arch='res_18', **histories)
    assert meta['arch'] == 'res_18' and 'long' not in meta and meta['nested'] == [None] * 50
    assert meta['history14'] == [[0.5] * 100] * 90


def test_the_names_of_lvis_in_options(tmp_path):
    options = dict({f'option{i}': i for i in range(100)}, classes=[str(i) for i in range(1203)])
    beside = {f'entry{i}': i for i in range(8)}
    assert read(tmp_path, opt=argparse.Namespace(**options), **beside)['opt'] == options


@pytest.mark.parametrize('size, data', [((3,), bytes(16)), (((2,),), bytes(16)), ((2,), 16), ((2,), 'text')])
def test_a_damaged_array(size, data):
    """It is one of the things that a damaged file has, and takes no memory."""
    dtype = Inert('numpy.dtype', ('f8', 0, 1), state=(3, '<', None, None, None, -1, -1, 0))
    array = Inert('numpy.core.multiarray._reconstruct', (), state=(1, size, dtype, False, data))
    with pytest.raises((ValueError, TypeError, AttributeError)):
        plain_values({'array': array}, None)


# protocol 5


#: pickle.dumps({'mean': np.array([[[0.5, 0.25]]]), 'step': np.int64(3), 'raw': bytearray(b'ab')}, 5) of
#: Python 3.11 with numpy 2.4: _frombuffer, BYTEARRAY8, a frame
WRITTEN = bytes.fromhex(
    '80059503010000000000007d94288c046d65616e948c136e756d70792e5f636f72652e6e756d65726963948c0b5f6672'
    '6f6d62756666657294939428961000000000000000000000000000e03f000000000000d03f948c056e756d7079948c05'
    '64747970659493948c02663894898887945294284b038c013c944e4e4e4affffffff4affffffff4b007494624b014b01'
    '4b0287948c014394749452948c0473746570948c166e756d70792e5f636f72652e6d756c74696172726179948c067363'
    '616c617294939468088c02693894898887945294284b03680c4e4e4e4affffffff4affffffff4b007494624308030000'
    '000000000094869452948c0372617794960200000000000000616294752e'
)


@pytest.mark.parametrize('form', FORMS)
def test_protocol_5(tmp_path, form):
    tensor = claim({'w': ('FloatStorage', '0', 2, 0, (2,), (1,))})[2:-1]
    body = b'}(' + text('state_dict') + tensor + text('beside') + WRITTEN[11:-1] + b'u.'
    data = b'\x80\x05\x95' + struct.pack('<Q', len(body)) + body
    write(tmp_path / 'a.pth', form, data, {'0': (2, struct.pack('<2f', 1.5, -2.0))})
    found = read_checkpoint(tmp_path / 'a.pth')
    assert found.state_dict['w'].tolist() == [1.5, -2.0]
    assert found.meta == {'beside': {'mean': [[[0.5, 0.25]]], 'step': 3, 'raw': None}}


@pytest.mark.skipif(pickle.HIGHEST_PROTOCOL < 5, reason='this Python writes no protocol 5')
@pytest.mark.parametrize('form', FORMS)
def test_protocol_5_of_torch_save(tmp_path, form):
    array = np.arange(6.0).reshape(1, 2, 3)
    saved = {'state_dict': {'w': torch.ones(2)}, 'opt': argparse.Namespace(mean=array, config=Config(lr=0.5))}
    torch.save(
        saved,
        str(tmp_path / 'a.pth'),
        pickle_protocol=5,
        _use_new_zipfile_serialization=form == 'zip',
    )
    found = read_checkpoint(tmp_path / 'a.pth')
    assert found.state_dict['w'].tolist() == [1, 1]
    assert found.meta == {'opt': {'mean': array.tolist(), 'config': {'lr': 0.5}}}


def test_a_bytearray_takes_no_memory_before_it_is_read(tmp_path):
    for length in (1 << 40, (1 << 64) - 1):
        data = b'\x80\x05}' + text('a') + b'\x96' + struct.pack('<Q', length) + b'abc'
        write_zip(tmp_path / 'a.pth', data, {})
        with pytest.raises(CheckpointError, match='damaged'):
            read_checkpoint(tmp_path / 'a.pth')


def test_a_history_of_ten_megabytes(tmp_path):
    start = time.process_time()
    meta = read(tmp_path, log={'loss': [0.1 + i for i in range(1100000)]}, arch='res_18')
    assert (tmp_path / 'a.pth').stat().st_size > 9 << 20
    assert meta == {'log': {'loss': None}, 'arch': 'res_18'}
    assert time.process_time() - start < 20
