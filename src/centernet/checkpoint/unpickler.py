"""An unpickler that calls nothing.

A pickle is a program: its GLOBAL opcode imports any name, and REDUCE calls it. Here a name on a short list
becomes an :class:`Inert` object, which only records what the file says; any other name is refused. No class
or function ever reaches the unpickler's stack, so there is nothing for a hostile pickle to call.
"""

import io
import pickle
from collections import OrderedDict
from typing import Any, Dict, NamedTuple, Optional

#: name of a storage class -> numpy type of its elements; a bfloat16 is the upper half of a float32
STORAGE_TYPES = {
    'DoubleStorage': 'f8',
    'FloatStorage': 'f4',
    'HalfStorage': 'f2',
    'BFloat16Storage': 'u2',
    'LongStorage': 'i8',
    'IntStorage': 'i4',
    'ShortStorage': 'i2',
    'CharStorage': 'i1',
    'ByteStorage': 'u1',
    'BoolStorage': 'u1',
}
_NUMBERS = ('bool', 'bfloat16', 'float16', 'float32', 'float64', 'int8', 'int16', 'int32', 'int64', 'uint8')
#: module -> names that training scripts leave in a checkpoint; none of them is imported
ADMITTED = {
    '_codecs': ('encode',),
    'argparse': ('Namespace',),
    'builtins': ('bool', 'dict', 'float', 'frozenset', 'int', 'list', 'set', 'slice', 'str', 'tuple'),
    'collections': ('Counter', 'OrderedDict', 'defaultdict'),
    'numpy': ('bool_', 'dtype', 'ndarray', *_NUMBERS),
    'numpy.core.multiarray': ('_reconstruct', 'scalar'),
    'pathlib': ('PosixPath', 'PurePosixPath', 'PureWindowsPath', 'WindowsPath'),
    'torch': ('Size', 'device', *_NUMBERS, *STORAGE_TYPES),
    'torch._utils': ('_rebuild_parameter', '_rebuild_tensor', '_rebuild_tensor_v2'),
}
# the same modules in Python 2, numpy 2, and Python 3.13, and the storages of tensors that were on a GPU
_ALIASES = {
    '__builtin__': 'builtins',
    'numpy._core.multiarray': 'numpy.core.multiarray',
    'pathlib._local': 'pathlib',
    'torch.cuda': 'torch',
}
# EXT1, EXT2 and EXT4 bring classes past find_class; BYTEARRAY8 takes memory before it reads.
_OMITTED_OPCODES = (0x82, 0x83, 0x84, 0x96)


class RefusedError(Exception):
    """The pickle asks for a name that is not admitted; the message is that name."""


class Pickles(io.BytesIO):
    """Bytes for an unpickler, in which a line that the end cuts off is not taken for a shorter name."""

    def readline(self, size: int = -1) -> bytes:
        line = super().readline(size)
        if not line.endswith(b'\n'):
            raise EOFError('a line is incomplete')
        return line


class Inert:
    """A name in a pickle, or an object that the pickle would make by calling that name.

    Attributes:
        name: with its module, such as ``argparse.Namespace``.
        args: what it would be called with; None for the name itself.
        state: what the object would be restored from, such as a dictionary of attributes.
    """

    __slots__ = ('args', 'name', 'state')

    def __init__(self, name: str, args: Optional[tuple] = None) -> None:
        self.name = name
        self.args = args
        self.state: Any = None


class Storage(NamedTuple):
    """The elements of one or several tensors, as a pickle describes them."""

    key: str
    dtype: str  # numpy's, see STORAGE_TYPES
    count: int
    is_bfloat16: bool

    @property
    def nbytes(self) -> int:
        return self.count * int(self.dtype[1])


class Unpickler(pickle._Unpickler):
    """Read one pickle of a checkpoint as dictionaries, lists, numbers, text, :class:`Inert` objects and
    :class:`Storage` records.

    The base class is Python's and not the C one, which takes memory for any index that a file gives for its
    memo.

    Raises (from ``load``):
        RefusedError: a name is not admitted. Any other exception: the pickle is damaged.
    """

    dispatch = {
        code: load for code, load in pickle._Unpickler.dispatch.items() if code not in _OMITTED_OPCODES
    }

    def __init__(self, file: Pickles) -> None:
        # Python 2 wrote byte strings where Python 3 has text; latin1 reads them all.
        super().__init__(file, encoding='latin1')
        #: storages by key
        self.storages: Dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Inert:
        original, module = module, _ALIASES.get(module, module)
        if name not in ADMITTED.get(module, ()):
            raise RefusedError(f'{original}.{name}')
        return Inert(f'{module}.{name}')

    def persistent_load(self, pid: tuple) -> Storage:
        """('storage', class, key, location, number of elements[, None]) -> Storage."""
        kind, storage_class, key, _, count = pid[:5]
        if kind != 'storage' or any(part is not None for part in pid[5:]):
            raise ValueError('a persistent id that is not a storage')
        if type(key) is not str or type(count) is not int or not 0 <= count < 1 << 60:
            raise ValueError('a storage without a key or a size')
        name = storage_class.name.rpartition('.')[2]
        storage = Storage(key, STORAGE_TYPES[name], count, name == 'BFloat16Storage')
        if self.storages.setdefault(storage.key, storage) != storage:
            raise ValueError(f'storage {storage.key} has two sizes or types')
        return storage

    def load_reduce(self) -> None:
        """Record a call in place of making it."""
        args = self.stack.pop()
        called = self.stack[-1]
        if type(called) is not Inert or called.args is not None or type(args) is not tuple:
            raise ValueError('a call of what is not a name')
        if called.name == 'torch._utils._rebuild_parameter':
            self.stack[-1] = args[0]  # the tensor
        elif not called.name.startswith('collections.'):
            self.stack[-1] = Inert(called.name, args)
        elif args and called.name != 'collections.defaultdict':  # whose argument makes missing entries
            if type(args[0]) is not dict:
                _check_keys([entry[0] for entry in args[0]])
            self.stack[-1] = OrderedDict(args[0])
        else:
            self.stack[-1] = OrderedDict()

    def load_setitems(self) -> None:
        """Fill a dictionary whose keys can be hashed without going deep: nesting can overflow the stack."""
        _check_keys(self.stack[0::2])
        super().load_setitems()

    def load_setitem(self) -> None:
        """As :meth:`load_setitems`, for one entry."""
        _check_keys([self.stack[-2]])
        super().load_setitem()

    def load_dict(self) -> None:
        """As :meth:`load_setitems`, for a new dictionary."""
        _check_keys(self.stack[0::2])
        super().load_dict()

    def load_additems(self) -> None:
        """As :meth:`load_setitems`, for a set."""
        _check_keys(self.stack)
        super().load_additems()

    def load_frozenset(self) -> None:
        """As :meth:`load_setitems`, for a frozen set."""
        _check_keys(self.stack)
        super().load_frozenset()

    def load_build(self) -> None:
        """Keep an object's state; drop the attributes of dictionaries, such as a state dict's _metadata."""
        state = self.stack.pop()
        if type(self.stack[-1]) is Inert:
            self.stack[-1].state = state

    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.ADDITEMS[0]] = load_additems
    dispatch[pickle.FROZENSET[0]] = load_frozenset
    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_reduce
    dispatch[pickle.BUILD[0]] = load_build


def _check_keys(keys):
    for key in keys:
        for part in key if type(key) is tuple else (key,):
            if type(part) in (tuple, frozenset):
                raise ValueError('a key of nested tuples or sets')
