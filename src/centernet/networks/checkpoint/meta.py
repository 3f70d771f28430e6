"""The plain values beside the weights: options, epochs, histories."""

import functools
import operator
import re
from typing import Any, Dict

import numpy as np

from .file_formats import SavedFile
from .state_dicts import is_tensor
from .unpickler import Inert

#: A value may hold so many; its parts share them equally, so that a file of references to references stays
#: small. A list that is longer than its share is left out.
_MOST_VALUES = 3 << 19
_MOST_IN_TENSOR = 16
_NUMBER = re.compile('(b1|[iu][1248]|f[248])$')


def plain_values(entries: Dict[str, Any], file: SavedFile) -> Dict[str, Any]:
    """The entries that are numbers, text, or lists and dictionaries of these.

    Namespaces and objects of a dictionary's subclass become dictionaries, arrays lists, numpy's numbers
    Python's, and small tensors lists. Within lists and dictionaries other values are None.

    Args:
        entries: of the saved object.
        file: holds the values of the tensors.
    """
    found = {name: _plain(value, _MOST_VALUES // len(entries), file) for name, value in entries.items()}
    return {name: value for name, value in found.items() if value is not None}


def _plain(value: Any, room: int, file: SavedFile) -> Any:
    """A plain copy of a value of at most ``room`` values; None for what has none."""
    if is_tensor(value):
        size = value.args[2]
        small = len(size) < 5 and 0 < functools.reduce(operator.mul, size, 1) <= _MOST_IN_TENSOR
        return file.tensor(value).tolist() if small else None
    if type(value) is Inert:
        value = _python_value(value) if value.entries is None else value.entries
    if type(value) in (bool, float, str) or (type(value) is int and value.bit_length() < 64):
        return value
    if type(value) is np.ndarray:
        return value.tolist() if value.size < room else None
    if not isinstance(value, (list, tuple, dict)) or len(value) >= room:
        return None
    room //= len(value) + 1
    if not isinstance(value, dict):
        return [_plain(part, room, file) for part in value]
    plain = {key: _plain(part, room, file) for key, part in value.items()}
    more_weights = None in plain.values() and all(map(is_tensor, value.values()))
    return None if more_weights else plain


def _python_value(value: Inert) -> Any:
    """What an object stands for, as Python's own types or an array; None for objects that are not kept."""
    if value.args is None:
        return None
    if value.name in ('argparse.Namespace', 'types.SimpleNamespace'):
        return value.state
    if value.name == 'torch.Size':
        return value.args[0]
    if value.name == 'numpy.core.multiarray.scalar':
        array = _array(*value.args, shape=())
        return None if array is None else array.item()
    if value.name == 'numpy.core.multiarray._reconstruct' and value.state:
        _, shape, dtype, by_columns, data = value.state
        return _array(dtype, data, shape, 'F' if by_columns else 'C')
    if value.name == 'numpy.core.numeric._frombuffer':
        data, dtype, shape, order = value.args
        return _array(dtype, data, shape, order)
    return None


def _array(dtype: Inert, data: Any, shape: tuple, order: str = 'C') -> Any:
    """An array of numbers; None for any other."""
    if not _NUMBER.match(dtype.args[0]):
        return None
    if type(data) is Inert:  # protocol 2 has no bytes
        data = data.args[0] if data.args else b''
    data = data.encode('latin1') if type(data) is str else data
    array = np.frombuffer(data, ('>' if dtype.state[1] == '>' else '<') + dtype.args[0])
    return array.reshape(shape, order=order) if array.size else array
