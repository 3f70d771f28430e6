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
from typing import Any, Dict, Iterable, NamedTuple, Optional, Tuple

import attr

from .names import ALIASES, CALLED, STORAGE_TYPES

#: The budget of a file's pickles: their bytes, _PER_READ for each opcode and argument, and _PER_COPY for each
#: entry of a copied dictionary. A large network with an optimizer takes 2 million, a history of 10 MB 30.
BUDGET = 3 << 24
_PER_READ, _PER_COPY = 10, 200
#: of a number or a name, in bytes; Python converts longer decimal numbers slowly
_LONGEST_LINE = 1 << 14
_LAST_PROTOCOL = 5
_DICTIONARIES = ('collections.Counter', 'collections.OrderedDict', 'collections.defaultdict')


class RefusedError(Exception):
    """The pickle calls a name that is not admitted, or is too large; the message says what it does."""


class Pickles(io.BytesIO):
    """Bytes for unpicklers, all of which spend its budget."""

    _left = BUDGET

    def spend(self, cost: int) -> None:
        """Raise RefusedError where a pickle makes more than any checkpoint has."""
        self._left -= cost
        if self._left < 0:
            raise RefusedError('holds more than is read beside the weights: save model.state_dict() instead')

    def read(self, size: int = -1) -> bytes:
        data = super().read(size)
        self.spend(_PER_READ + len(data))
        return data

    def readline(self, size: int = _LONGEST_LINE) -> bytes:
        line = super().readline(size)
        self.spend(len(line))
        if not line.endswith(b'\n'):  # or it could be a shorter name
            raise EOFError('a line is incomplete, or too long')
        return line


@attr.s(auto_attribs=True, slots=True, eq=False)
class Inert:
    """A name in a pickle, or an object that the pickle would make from that name.

    Attributes:
        name: with its module, such as ``argparse.Namespace``.
        args: what it would be made with; None for the name itself.
        entries: of an object of a dictionary's subclass; else None.
        state: what the object would be restored from, such as a dictionary of attributes.
    """

    name: str
    args: Optional[tuple] = None
    entries: Optional[dict] = None
    state: Any = None


class Storage(NamedTuple):
    """The elements of one or several tensors, as a pickle describes them."""

    key: str
    #: the class, one of STORAGE_TYPES
    kind: str
    count: int

    @property
    def nbytes(self) -> int:
        return self.count * int(STORAGE_TYPES[self.kind][1])


class Unpickler(pickle._Unpickler):
    """Read one pickle of a checkpoint, up to protocol 5, as dictionaries (of entries that text or a number
    names), lists, numbers, text, bytes, :class:`Inert` objects and :class:`Storage` records.

    The base class is Python's and not the C one, which takes memory for any index that a file gives for its
    memo.

    Raises (from ``load``):
        RefusedError: it calls a name that is not admitted, or is too large. Any other exception: it is
            damaged.
    """

    def __init__(self, pickles: Pickles) -> None:
        # Python 2 wrote byte strings where Python 3 has text; latin1 reads them all.
        super().__init__(pickles, encoding='latin1')
        self._spend = pickles.spend
        #: storages by key
        self.storages: Dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Inert:
        """Record a name in place of importing it."""
        self._spend(len(module) + len(name))
        return Inert('.'.join((ALIASES.get(module, module), name)))

    def persistent_load(self, pid: tuple) -> Any:
        """('storage', class, key, location, number of elements[, None]) -> Storage; ('module', class, file,
        source), of a network in the legacy format -> the class."""
        if pid[0] == 'module':
            return Inert(pid[1].name)
        kind, storage_class, key, _, count = pid[:5]
        if (
            kind != 'storage'
            or pid[5:] not in ((), (None,))
            or type(key) is not str
            or type(count) is not int
        ):
            raise ValueError('a persistent id that is not a storage')
        storage = Storage(key, storage_class.name.rpartition('.')[2], count)
        if self.storages.setdefault(key, storage) != storage or not 0 <= storage.nbytes < 1 << 63:
            raise ValueError(f'storage {key} has two sizes or types, or a wrong one')
        return storage

    def load_reduce(self) -> None:
        """Record a call in place of making it."""
        args = self.stack.pop()
        self._instantiate(self.stack.pop(), args)

    def _instantiate(self, called: Inert, args: tuple) -> None:
        """As :meth:`load_reduce`, for INST and OBJ, Python 2's ways to call a class."""
        name = called.name
        if name == 'builtins.getattr' and len(args) == 2:  # before protocol 4: what a class has inside
            made = self.find_class(args[0].name, args[1])
        elif name not in CALLED:
            raise RefusedError(
                f'refers to the Python object {name}; only tensors are loaded, and no code was run: save'
                ' model.state_dict() instead'
            )
        elif name.startswith('torch._utils._rebuild_parameter'):
            made = args[0]  # the tensor
        elif name == 'copyreg._reconstructor':
            made = Inert(args[0].name, args, args[2] if type(args[2]) is dict else None)
        elif name in _DICTIONARIES:
            # defaultdict's argument makes missing entries
            made = self._entries(args[0] if args and name != 'collections.defaultdict' else ())
        else:
            made = Inert(name, args)
        self.append(made)

    def _entries(self, given: Any) -> 'OrderedDict[Any, Any]':
        """A new dictionary of a dictionary's entries, or of pairs."""
        self._spend(_PER_COPY * len(given))  # one list may become many dictionaries
        return OrderedDict(_with_plain_keys(given.items() if isinstance(given, dict) else given))

    def load_newobj(self) -> None:
        """Record an object that is made without calling its class."""
        args = self.stack.pop()
        self.append(Inert(self.stack.pop().name, args))

    def load_newobj_ex(self) -> None:
        """As :meth:`load_newobj`, with keywords, which are dropped."""
        self.stack.pop()
        self.load_newobj()

    def load_append(self) -> None:
        """Fill a list; drop the items of an object."""
        item = self.stack.pop()
        if type(self.stack[-1]) is list:
            self.stack[-1].append(item)

    def load_appends(self) -> None:
        """As :meth:`load_append`, for many items."""
        items = self.pop_mark()
        if type(self.stack[-1]) is list:
            self.stack[-1].extend(items)

    #: of a set
    load_additems = load_appends

    def load_setitem(self) -> None:
        """Fill a dictionary, or an object of a subclass."""
        self._fill([self.stack.pop(-2), self.stack.pop()])

    def load_setitems(self) -> None:
        """As :meth:`load_setitem`, for many entries."""
        self._fill(self.pop_mark())

    def load_dict(self) -> None:
        """As :meth:`load_setitems`, for a new dictionary."""
        items = self.pop_mark()
        self.append({})
        self._fill(items)

    def _fill(self, items: list) -> None:
        filled = self.stack[-1]
        if type(filled) is Inert:
            filled.entries = filled.entries or {}
            filled = filled.entries
        filled.update(_with_plain_keys(zip(items[0::2], items[1::2])))

    def load_empty_set(self) -> None:
        """Record a set; its items are dropped, since hashing what is nested can take for ever."""
        self.append(Inert('builtins.set', ()))

    def load_frozenset(self) -> None:
        """As :meth:`load_empty_set`, for a frozen set with its items."""
        self.pop_mark()
        self.load_empty_set()

    def load_build(self) -> None:
        """Keep an object's state; drop the attributes of dictionaries, such as a state dict's _metadata."""
        state = self.stack.pop()
        if type(self.stack[-1]) is Inert:
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
        """Read the content of a bytearray; Python takes memory for its length before that."""
        self.append(self.read(int.from_bytes(self.read(8), 'little')))


def _with_plain_keys(pairs: Iterable[Tuple[Any, Any]]) -> Iterable[Tuple[Any, Any]]:
    """The entries that text or a number names; hashing a nested key can take for ever, or overflow the
    stack."""
    return ((key, value) for key, value in pairs if type(key) in (str, int))


# EXT1, EXT2 and EXT4 bring classes past find_class. Python 3.6 does not name the opcode of a bytearray.
Unpickler.dispatch = {
    code: getattr(Unpickler, load.__name__)
    for code, load in pickle._Unpickler.dispatch.items()
    if code not in pickle.EXT1 + pickle.EXT2 + pickle.EXT4
}
Unpickler.dispatch[0x96] = Unpickler.load_bytearray8
