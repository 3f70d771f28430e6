"""The plain values beside the weights: options, epochs, histories."""

import functools
import operator
import pathlib
import re
from typing import Any, Dict, List, Optional

import numpy as np

from .file_formats import SavedFile
from .state_dicts import is_tensor
from .unpickler import Inert

_DEPTH = 6
#: of one list, dictionary or array; longer ones are left out
_MOST_ENTRIES = 10000
#: of all entries together, and of one
_MOST_VALUES, _MOST_VALUES_EACH = 200000, 20000
#: entries that may be tensors, of so many numbers
_READ = {'mean', 'std', 'input_size', 'input_res', 'input_h', 'input_w'}
_MOST_IN_TENSOR = 16
_NUMBER = re.compile('(b1|[iu][1248]|f[248])$')


def plain_values(entries: Dict[str, Any], file: SavedFile) -> Dict[str, Any]:
    """The entries that are numbers, text, or lists and dictionaries of these.

    Namespaces and objects of a dictionary's subclass become dictionaries, arrays lists, numpy's numbers
    Python's, and paths text; small tensors that describe the input become lists, too. Within lists and
    dictionaries other values are None.

    Args:
        entries: of the saved object.
        file: holds the values of the tensors.
    """
    entries = {name: _small_tensors(name, value, file) for name, value in entries.items()}
    left, found = _MOST_VALUES, {}
    for key, value in entries.items():
        room = [min(left, _MOST_VALUES_EACH)]
        left -= room[0]
        plain = _plain(value, 0, room)
        left += max(0, room[0])
        if plain is not None:
            found[key] = plain
    return found


def _small_tensors(name: str, value: Any, file: SavedFile, depth: int = 0) -> Any:
    """Read an entry that describes the input, and is a small tensor; also among the options in an entry."""
    if is_tensor(value):
        size = value.args[2]
        small = len(size) < 5 and 0 < functools.reduce(operator.mul, size, 1) <= _MOST_IN_TENSOR
        return file.tensor(value).tolist() if small and name in _READ else value
    options = value if isinstance(value, dict) else None
    if type(value) is Inert and _is_namespace(value):
        options = value.state if value.entries is None else value.entries
    if depth or not isinstance(options, dict) or not _READ.intersection(options):
        return value
    return {key: _small_tensors(key, part, file, 1) for key, part in options.items()}


def _is_namespace(value: Inert) -> bool:
    return value.entries is not None or value.name in ('argparse.Namespace', 'types.SimpleNamespace')


def _plain(value: Any, depth: int, room: List[int]) -> Any:
    """A plain copy of a value, None for what has none. ``room``: how many values it may have, which is
    counted down."""
    room[0] -= 1
    if room[0] < 0 or depth > _DEPTH:
        return None
    if type(value) is Inert:
        value = value.entries if value.entries is not None else _python_value(value)
    if type(value) is np.ndarray:
        room[0] -= value.size
        return value.tolist() if room[0] >= 0 and value.size <= _MOST_ENTRIES else None
    if type(value) in (bool, float, str):
        return value
    if type(value) is int:
        return value if value.bit_length() < 64 else None
    if isinstance(value, (list, tuple, dict)) and len(value) > _MOST_ENTRIES:
        return None
    if isinstance(value, (list, tuple)):
        return [_plain(part, depth + 1, room) for part in value]
    if isinstance(value, dict):
        if value and all(map(is_tensor, value.values())):  # more weights
            return None
        items = ((key, part) for key, part in value.items() if type(key) in (str, int))
        return {key: _plain(part, depth + 1, room) for key, part in items}
    return None


def _python_value(value: Inert) -> Any:
    """What an object stands for, as Python's own types or an array; None for objects that are not kept."""
    if value.args is None:
        return None
    if _is_namespace(value):
        return value.state
    if value.name == 'torch.Size':
        return value.args[0]
    if value.name.startswith('pathlib.'):
        return str(pathlib.PurePosixPath(*value.args))
    if value.name == 'numpy.core.multiarray.scalar':
        array = _array(value.args[0], value.args[1], ())
        return None if array is None else array.item()
    if value.name == 'numpy.core.multiarray._reconstruct' and value.state:
        _, shape, dtype, by_columns, data = value.state
        return _array(dtype, data, shape, 'F' if by_columns else 'C')
    if value.name == 'numpy.core.numeric._frombuffer':
        data, dtype, shape, order = value.args
        return _array(dtype, data, shape, order)
    return None


def _array(dtype: Inert, data: Any, shape: tuple, order: str = 'C') -> Optional[np.ndarray]:
    """A small array of numbers; None for any other."""
    if type(data) is Inert:  # protocol 2 has no bytes
        data = data.args[0] if data.name == '_codecs.encode' else b''
    if not _NUMBER.match(dtype.args[0]) or len(data) > 8 * _MOST_ENTRIES or len(shape) > 32:
        return None
    data = data.encode('latin1') if type(data) is str else data
    array = np.frombuffer(data, ('>' if dtype.state[1] == '>' else '<') + dtype.args[0])
    if min(shape, default=0) < 0:
        raise ValueError('an array has a negative size')
    if not array.size:  # whatever its other sizes are
        return array
    return array.reshape(shape, order=order)
