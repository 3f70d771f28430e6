"""An unpickler that calls nothing.

A pickle is a program: its GLOBAL opcode imports any name, and REDUCE calls it. Here a name becomes an
:class:`Inert` object, which only records what the file says. No class or function ever reaches the
unpickler's stack, so there is nothing for a hostile pickle to call.

A file whose pickle would run code elsewhere is not read either: a call is refused by name unless the name is
on a short list. What runs no code is recorded whatever its class is: a reference to a class or function, and
an object that is made without calling its class and then filled (NEWOBJ, BUILD, SETITEMS, APPENDS).
"""

import io
import pickle
from collections import OrderedDict
from typing import Any, Callable, Dict, NamedTuple, Optional

from .names import ALIASES, CALLED, STORAGE_TYPES

_DICTIONARIES = ('collections.Counter', 'collections.OrderedDict', 'collections.defaultdict')
# EXT1, EXT2 and EXT4 bring classes past find_class.
_OMITTED_OPCODES = (0x82, 0x83, 0x84)
# The opcodes of protocol 5, which Python 3.6 does not name.
_BYTEARRAY8, _NEXT_BUFFER, _READONLY_BUFFER = 0x96, 0x97, 0x98
_LAST_PROTOCOL = 5
#: An opcode of one byte may make an empty set, which takes 220. A training history of 10 MB has 4 million.
_MOST_OPCODES = 1 << 22
#: of one number or name, in bytes; Python converts longer decimal numbers slowly
_LONGEST_LINE = 1 << 14
_LONGEST_NAME = 256


class RefusedError(Exception):
    """The pickle calls a name that is not admitted; the message is that name."""


class UnreadableError(Exception):
    """The pickle is not damaged, and cannot be read here; the message says what it does."""


class Pickles(io.BytesIO):
    """Bytes for an unpickler, in which a line that the end cuts off is not taken for a shorter name."""

    def readline(self, size: int = -1) -> bytes:
        line = super().readline(size)
        if len(line) > _LONGEST_LINE:
            raise ValueError('a line is too long')
        if not line.endswith(b'\n'):
            raise EOFError('a line is incomplete')
        return line


class Inert:
    """A name in a pickle, or an object that the pickle would make from that name.

    Attributes:
        name: with its module, such as ``argparse.Namespace``.
        args: what it would be made with; None for the name itself.
        state: what the object would be restored from, such as a dictionary of attributes.
        entries: of an object of a dictionary's subclass; else None.
    """

    __slots__ = ('args', 'entries', 'name', 'state')

    def __init__(self, name: str, args: Optional[tuple] = None, entries: Optional[dict] = None) -> None:
        self.name = name
        self.args = args
        self.entries = entries
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
    """Read one pickle of a checkpoint, up to protocol 5, as dictionaries, lists, numbers, text, bytes,
    :class:`Inert` objects and :class:`Storage` records.

    The base class is Python's and not the C one, which takes memory for any index that a file gives for its
    memo.

    Raises (from ``load``):
        RefusedError: it calls a name that is not admitted.
        UnreadableError: it is too large, or incomplete by design. Any other exception: the pickle is damaged.
    """

    dispatch = {
        code: load for code, load in pickle._Unpickler.dispatch.items() if code not in _OMITTED_OPCODES
    }

    def __init__(self, file: Pickles) -> None:
        # Python 2 wrote byte strings where Python 3 has text; latin1 reads them all.
        super().__init__(file, encoding='latin1')
        self.dispatch = _Counted(self.dispatch)
        #: storages by key
        self.storages: Dict[str, Storage] = {}
        self._entries_left = _MOST_OPCODES
        self._names: Dict[str, Inert] = {}

    def find_class(self, module: str, name: str) -> Inert:
        """Record a name in place of importing it."""
        return self._name(f'{ALIASES.get(module, module)}.{name}')

    def _name(self, name: str) -> Inert:
        if len(name) > _LONGEST_NAME:
            raise ValueError('a name is too long')
        return self._names.setdefault(name, Inert(name))

    def persistent_load(self, pid: tuple) -> Any:
        """('storage', class, key, location, number of elements[, None]) -> Storage; ('module', class, file,
        source), of a network in the legacy format -> the class's name."""
        if pid[0] == 'module' and type(pid[1]) is Inert:
            return self._name(pid[1].name)
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
        self.stack[-1] = self._called(self.stack[-1], args)

    def _instantiate(self, klass: Any, args: list) -> None:
        """As :meth:`load_reduce`, for INST and OBJ, Python 2's ways to call a class."""
        self.append(self._called(klass, tuple(args)))

    def _called(self, called: Any, args: tuple) -> Any:
        _check_name(called, args)
        name, first = called.name, args[0] if args else None
        if name == 'builtins.getattr' and _is_name(first) and type(args[1]) is str and len(args) == 2:
            return self._name(
                f'{first.name}.{args[1]}'
            )  # how protocols before 4 name what is inside of a class
        if name not in CALLED:
            raise RefusedError(name)
        if name.startswith('torch._utils._rebuild_parameter'):
            return first  # the tensor
        if name.startswith('copyreg.'):
            return _made(first, args[1:]) if name.endswith('__newobj__') else _made(first, (), args[2])
        if name not in _DICTIONARIES:
            return Inert(name, args)
        if first is None or name == 'collections.defaultdict':  # whose argument makes missing entries
            return OrderedDict()
        if type(first) is dict:
            return first
        # One list may become many dictionaries, which no honest file does.
        self._entries_left -= len(first)
        if self._entries_left < 0:
            raise ValueError('it has too many entries')
        _check_keys([entry[0] for entry in first])
        return OrderedDict(first)

    def load_newobj(self) -> None:
        """Record an object that is made without calling its class."""
        args = self.stack.pop()
        self.stack[-1] = _made(self.stack[-1], args)

    def load_newobj_ex(self) -> None:
        """As :meth:`load_newobj`, with keywords, which are dropped."""
        self.stack.pop()
        self.load_newobj()

    def load_appends(self) -> None:
        """Fill a list; drop the items of an object."""
        items = self.pop_mark()
        if type(self.stack[-1]) is not Inert:
            self.stack[-1].extend(items)

    def load_append(self) -> None:
        """As :meth:`load_appends`, for one item."""
        item = self.stack.pop()
        if type(self.stack[-1]) is not Inert:
            self.stack[-1].append(item)

    def load_setitems(self) -> None:
        """Fill a dictionary, or an object of a subclass. The keys can be hashed without going deep: nesting
        can overflow the stack."""
        self._fill(self.pop_mark())

    def load_setitem(self) -> None:
        """As :meth:`load_setitems`, for one entry."""
        value, key = self.stack.pop(), self.stack.pop()
        self._fill([key, value])

    def _fill(self, items: list) -> None:
        keys, values = items[0::2], items[1::2]
        _check_keys(keys)
        if len(keys) != len(values):
            raise ValueError('a key without a value')
        filled = self.stack[-1]
        if type(filled) is Inert and filled.args is not None:
            if filled.entries is None:
                filled.entries = {}
            filled = filled.entries
        for key, value in zip(keys, values):
            filled[key] = value

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
        if type(self.stack[-1]) is Inert and self.stack[-1].args is not None:
            self.stack[-1].state = state

    def load_proto(self) -> None:
        """Check the protocol; Python 3.6 itself knows those up to 4."""
        protocol = self.read(1)[0]
        if protocol > _LAST_PROTOCOL:
            raise ValueError(f'its pickle has the unknown protocol {protocol}')

    def load_frame(self) -> None:
        """Skip the length of a frame, which only says how much could be read at once."""
        self.read(8)

    def load_bytearray8(self) -> None:
        """Read the content of a bytearray; the reader takes no more memory than the file has bytes."""
        self.append(self.read(int.from_bytes(self.read(8), 'little')))

    def load_next_buffer(self) -> None:
        """Refuse what the pickle does not hold."""
        raise UnreadableError('keeps data outside of its pickle (buffers of protocol 5)')

    def load_readonly_buffer(self) -> None:
        """Bytes are read-only already."""

    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.APPENDS[0]] = load_appends
    dispatch[pickle.APPEND[0]] = load_append
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.ADDITEMS[0]] = load_additems
    dispatch[pickle.FROZENSET[0]] = load_frozenset
    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.PROTO[0]] = load_proto
    dispatch[pickle.FRAME[0]] = load_frame
    dispatch[_BYTEARRAY8] = load_bytearray8
    dispatch[_NEXT_BUFFER] = load_next_buffer
    dispatch[_READONLY_BUFFER] = load_readonly_buffer


class _Counted(dict):
    """The table of opcodes, which can be looked up a limited number of times."""

    left = _MOST_OPCODES

    def __getitem__(self, opcode: int) -> Callable[[Unpickler], None]:
        self.left -= 1
        if self.left < 0:
            raise UnreadableError(f'holds more than is read beside the weights ({_MOST_OPCODES} values)')
        return super().__getitem__(opcode)


def _is_name(value):
    return type(value) is Inert and value.args is None


def _check_name(called, args):
    if not _is_name(called) or type(args) is not tuple:
        raise ValueError('a call of what is not a name')


def _made(made, args, entries=None):
    """An object of the class ``made``, which need not be known: nothing is called."""
    _check_name(made, args)
    return Inert(made.name, args, entries if type(entries) is dict else None)


def _check_keys(keys):
    for key in keys:
        for part in key if type(key) is tuple else (key,):
            if type(part) in (tuple, frozenset):
                raise ValueError('a key of nested tuples or sets')
