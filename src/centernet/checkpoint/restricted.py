"""An unpickler that runs nothing: it admits the names which a plain checkpoint needs and refuses all others.

A pickle is a program: its GLOBAL opcode imports any name and REDUCE calls it. Here a name only ever becomes a
function of this module or a container, and a tensor becomes a :class:`TensorClaim`: what the file says about
it, not yet believed.

What it takes is bounded by the bytes of the pickle: no call copies more than that in all, and what is hashed
or printed is plain. A tuple that holds one tuple twice, which holds another twice, and so on, takes two bytes
a level and is never done with hashing.
"""

import collections
import pickle
import struct
from typing import NamedTuple

#: a storage's element type -> its numpy type; bfloat16 is the upper half of a float32
STORAGE_TYPES = {
    'DoubleStorage': 'f8',
    'FloatStorage': 'f4',
    'HalfStorage': 'f2',
    'BFloat16Storage': 'bfloat16',
    'LongStorage': 'i8',
    'IntStorage': 'i4',
    'ShortStorage': 'i2',
    'CharStorage': 'i1',
    'ByteStorage': 'u1',
    'BoolStorage': 'b1',
}

#: a storage in the file: its key, its element type (a value of :data:`STORAGE_TYPES`), and its number of
#: elements, of which the tensor sees ``length`` from ``start`` on
StorageClaim = NamedTuple(
    'StorageClaim', [('key', str), ('type', str), ('count', int), ('start', int), ('length', int)]
)

#: a tensor in the file: a strided view of a storage
TensorClaim = NamedTuple(
    'TensorClaim', [('storage', StorageClaim), ('offset', int), ('size', tuple), ('stride', tuple)]
)

# Opcodes that no checkpoint has and that a hostile one would profit from (the last three are of protocol 5).
_REFUSED_OPCODES = {
    pickle.EXT1: 'EXT1',
    pickle.EXT2: 'EXT2',
    pickle.EXT4: 'EXT4',
    pickle.INST: 'INST',
    pickle.OBJ: 'OBJ',
    pickle.NEWOBJ_EX: 'NEWOBJ_EX',
    pickle.PERSID: 'PERSID',
    b'\x96': 'BYTEARRAY8',
    b'\x97': 'NEXT_BUFFER',
    b'\x98': 'READONLY_BUFFER',
}


class RefusedError(Exception):
    """The pickle asks for a name that is not admitted; ``name`` says which."""

    def __init__(self, name):
        super().__init__(name)
        self.name = name


class StorageType(NamedTuple('StorageType', [('type', str)])):
    """Stands for a class such as ``torch.FloatStorage``, which could be called with any size."""

    __slots__ = ()


class RestrictedUnpickler(pickle._Unpickler):
    """Reads one pickle of a checkpoint.

    The Python unpickler and not the C one, which allocates whatever a memo's index in the file asks for.

    Args:
        file: has ``read`` and ``readline``, bounded by what there is to read (see
            :class:`.containers.Stream`).

    Raises (from ``load``):
        RefusedError: a name or opcode is not admitted. Any other exception: the pickle is damaged.
    """

    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file):
        # Python 2 wrote byte strings where Python 3 has text; latin1 reads them all.
        super().__init__(file, encoding='latin1')
        #: storages by key, as the pickle claims them
        self.storages = {}
        self._room = file.size

    def find_class(self, module, name):
        if module in ('torch', 'torch.cuda') and name in STORAGE_TYPES:
            return StorageType(STORAGE_TYPES[name])
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise RefusedError(f'{module}.{name}') from None

    def persistent_load(self, pid):
        """('storage', type, key, location, number of elements[, view]) -> StorageClaim."""
        kind, storage_type, key, _, count = pid[:5]
        if type(kind) is not str or kind != 'storage' or not isinstance(storage_type, StorageType):
            raise RefusedError(f'persistent id {show(kind)}')
        if type(key) not in (str, int):
            raise ValueError(f'the key of a storage is {show(key)}')
        key = str(key)
        claim = StorageClaim(key, storage_type.type, as_count(count), 0, as_count(count))
        if self.storages.setdefault(key, claim) != claim:
            raise ValueError(f'storage {key} is claimed with two sizes or types')
        if len(pid) > 5 and pid[5] is not None:
            _, start, length = pid[5]
            claim = claim._replace(start=as_count(start), length=as_count(length))
        return claim

    def load_build(self):
        """Drop an object's attributes (a state dict's ``_metadata``), so that none can hide a method; keep a
        dtype's."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], _NumpyType):
            self.stack[-1].order = state[1]
        elif not isinstance(self.stack[-1], collections.OrderedDict):
            raise RefusedError(f'the state of a {type(self.stack[-1]).__name__}')

    dispatch[pickle.BUILD[0]] = load_build

    def load_reduce(self):
        """Call an admitted function; its arguments may be copied, so they count."""
        arguments = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], arguments)

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_newobj(self):
        """Make an object of an admitted class."""
        arguments = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], arguments)

    dispatch[pickle.NEWOBJ[0]] = load_newobj

    def _call(self, function, arguments):
        if type(arguments) is not tuple or not callable(function) or function not in _FUNCTIONS:
            raise ValueError(f'a call of {show(function)}')
        for argument in arguments:
            self._room -= len(argument) if isinstance(argument, _SIZED) else 0
            if self._room < 0:
                raise ValueError('it copies more than it holds')
            if function in _HASHING:
                _check_hashable(function, argument)
        return function(*arguments)

    def load_setitem(self):
        """dict[key] = value."""
        value, key = self.stack.pop(), self.stack.pop()
        self._set(self.stack[-1], key, value)

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_setitems(self):
        """dict[key] = value, many times."""
        items = self.pop_mark()
        for place in range(0, len(items), 2):
            self._set(self.stack[-1], items[place], items[place + 1])

    dispatch[pickle.SETITEMS[0]] = load_setitems

    def load_dict(self):
        """A dict of what is on the stack."""
        items = self.pop_mark()
        made = {}
        for place in range(0, len(items), 2):
            self._set(made, items[place], items[place + 1])
        self.append(made)

    dispatch[pickle.DICT[0]] = load_dict

    def load_additems(self):
        """set.add, many times."""
        items = self.pop_mark()
        if not isinstance(self.stack[-1], set):
            raise ValueError(f'items for {show(self.stack[-1])}')
        _check_hashable(set, items)
        self.stack[-1].update(items)

    dispatch[pickle.ADDITEMS[0]] = load_additems

    def load_frozenset(self):
        """A frozenset of what is on the stack."""
        items = self.pop_mark()
        _check_hashable(frozenset, items)
        self.append(frozenset(items))

    dispatch[pickle.FROZENSET[0]] = load_frozenset

    @staticmethod
    def _set(made, key, value):
        if not isinstance(made, dict):
            raise ValueError(f'items for {show(made)}')
        _check_hashable(set, (key,))
        made[key] = value


def _check_hashable(function, items):
    """Raise ValueError where hashing what ``function`` makes of ``items`` might never end."""
    if isinstance(items, (dict, str, bytes, set, frozenset)):  # hashed already, or plain
        return
    for item in items:
        if function in (dict, collections.OrderedDict):  # pairs
            item, _ = item
        if type(item) not in _PLAIN or (
            type(item) is int and item.bit_length() > 60
        ):  # larger ones can all have one hash
            raise ValueError(f'a key that is {show(item)}')


def show(value):
    """A value for a message; only of what is plain and short itself."""
    if type(value) in (bool, float, type(None)) or (type(value) is int and value.bit_length() < 200):
        return repr(value)
    if type(value) in (str, bytes):
        return repr(value[:80])
    return f'a {type(value).__name__}'


def _refuse(opcode):
    def refuse(unpickler):
        raise RefusedError('opcode ' + opcode)

    return refuse


for _code, _opcode in _REFUSED_OPCODES.items():
    RestrictedUnpickler.dispatch[_code[0]] = _refuse(_opcode)


def as_count(value):
    """``value`` if it is an integer from 0 to 2**62.

    Raises:
        ValueError: it is not.
    """
    if type(value) is not int or not 0 <= value <= 1 << 62:
        raise ValueError(f'{show(value)} is no size')
    return value


def _tensor(storage, offset, size, stride, *_):
    if not isinstance(storage, StorageClaim):
        raise ValueError(f'a tensor of {show(storage)}')
    if (
        not isinstance(size, (tuple, list))
        or not isinstance(stride, (tuple, list))
        or not len(size) == len(stride) <= 16
    ):
        raise ValueError('a tensor without a size')
    size, stride = tuple(map(as_count, size)), tuple(map(as_count, stride))
    return TensorClaim(storage, as_count(offset), size, stride)


def _parameter(data, *_):
    if not isinstance(data, TensorClaim):
        raise ValueError(f'a parameter of {show(data)}')
    return data


def _encode(text, encoding):
    """How protocol 2 spells bytes."""
    if type(text) is not str or type(encoding) is not str or encoding != 'latin1':
        raise ValueError(f'bytes in {show(encoding)}')
    return text.encode('latin1')


class _NumpyType:
    """What a numpy scalar says of its type: 'f8' and the byte order."""

    def __init__(self, code, *_):
        self.code, self.order = code, '<'


def _numpy_scalar(numpy_type, raw):
    """A numpy number (an epoch, a best score) as Python's; others, such as objects, are refused."""
    formats = {
        'f2': 'e',
        'f4': 'f',
        'f8': 'd',
        'i1': 'b',
        'i2': 'h',
        'i4': 'i',
        'i8': 'q',
        'u1': 'B',
        'u2': 'H',
        'u4': 'I',
        'u8': 'Q',
        'b1': '?',
    }
    code = numpy_type.code if isinstance(numpy_type, _NumpyType) else None
    if type(code) is not str or code not in formats:
        raise RefusedError(f'a numpy scalar of type {show(code)}')
    raw = raw.encode('latin1') if isinstance(raw, str) else raw
    return struct.unpack(('>' if numpy_type.order == '>' else '<') + formats[code], raw)[0]


_ADMITTED = {
    ('collections', 'OrderedDict'): collections.OrderedDict,
    ('collections', 'Counter'): dict,
    ('torch', 'Size'): tuple,
    ('torch._utils', '_rebuild_tensor'): _tensor,
    ('torch._utils', '_rebuild_tensor_v2'): _tensor,
    ('torch._utils', '_rebuild_parameter'): _parameter,
    ('_codecs', 'encode'): _encode,
    ('numpy', 'dtype'): _NumpyType,
    ('numpy.core.multiarray', 'scalar'): _numpy_scalar,
    ('numpy._core.multiarray', 'scalar'): _numpy_scalar,
}
for _module in ('builtins', '__builtin__'):
    for _type in (set, frozenset, list, tuple, dict):
        _ADMITTED[_module, _type.__name__] = _type
_FUNCTIONS = frozenset(_ADMITTED.values())
_HASHING = frozenset((set, frozenset, dict, collections.OrderedDict))
_SIZED = (str, bytes, list, tuple, dict, set, frozenset)
# What is hashed in no more time than it took to read.
_PLAIN = (str, bytes, int, float, bool, type(None))
