"""Find the state dict in what a checkpoint holds.

Training scripts save it alone, or as an entry: ``state_dict``, ``model``, ``net``, ``ema``,
``model_state_dict``, ``ema.state_dict``. So the names do not count here, only what the entries hold.
"""

import re
from collections import OrderedDict
from typing import Any, Dict, Iterable, NamedTuple, Optional

import torch

from ..errors import CheckpointError
from .file_formats import SavedFile
from .unpickler import Inert

#: entries that hold tensors of the training, not of the network
TRAINING = re.compile('optim|sched|scaler', re.IGNORECASE)
_TENSORS = ('torch._utils._rebuild_tensor', 'torch._utils._rebuild_tensor_v2')
#: before a parameter's name: of DataParallel, of a network inside of another, and of torch.compile
_PREFIX = re.compile(r'(?:(?:module|model|_orig_mod)\.)+')
_MOST_LISTED = 8


class Found(NamedTuple):
    """A state dict as it was saved."""

    #: of the entry, dotted where it is nested; '' where the file holds nothing else
    name: str
    saved: Dict[Any, Any]


class _Entry(NamedTuple):
    """An entry, and the most dimensions that a tensor in it has, -1 if it holds none."""

    value: Any
    dimensions: int


def find_state_dict(path: str, saved: Any, key: Optional[str] = None) -> Found:
    """Find the state dict in a saved object, up to two levels deep.

    Args:
        path: of the file, for messages.
        saved: the object.
        key: the entry to take, such as ``ema.state_dict``; None takes the only one that holds weights.

    Raises:
        CheckpointError: there is none, or there are several and no ``key``.
    """
    entries = dictionary(saved)
    if entries is None:
        what = f'{path} holds an object of type {type_name(saved)}, not a state dict'
        advice = '' if is_tensor(saved) or type(saved) is not Inert else ': save model.state_dict() instead'
        raise CheckpointError(what + advice)
    nested = _nested(entries)
    alone = _dimensions(entries) >= 0
    if key is not None:
        if key in nested:
            return Found(key, _checked(path, key, nested[key].value))
        names = _list(name for name, entry in nested.items() if entry.dimensions >= 0)
        raise CheckpointError(
            f'--weights-key {printable(key)}: {path} has no such entry; its entries with weights:'
            f' {names or ("none, it is one state dict" if alone else "none")}'
        )
    # Random states and figures are tensors of fewer dimensions; each network has a convolution.
    weights = [name for name, entry in nested.items() if entry.dimensions >= 2]
    if alone and (not weights or _dimensions(entries) >= 4):  # convolutions are there already
        return Found('', entries)
    weights = weights or [name for name, entry in nested.items() if entry.dimensions >= 0]
    if len(weights) > 1:
        raise CheckpointError(
            f'{path} holds the weights of several networks: {_list(weights)}; choose one of them, such as'
            f' --weights-key {printable(weights[0])}'
        )
    if weights:
        return Found(weights[0], dictionary(nested[weights[0]].value))
    if 'state_dict' in entries:
        return Found('state_dict', _checked(path, 'state_dict', entries['state_dict']))
    networks = [(name, value) for name, value in entries.items() if _is_network(value)]
    if networks:
        raise CheckpointError(
            f'{path} holds no state dict: its entry {printable(networks[0][0])} is a whole network of the'
            f' class {type_name(networks[0][1])}; save model.state_dict() instead'
        )
    names = _list(name for name in entries if type(name) in (str, int))
    raise CheckpointError(f'{path} holds no state dict; its entries: {names or "none"}')


def tensors_of(path: str, found: Found, file: SavedFile) -> 'OrderedDict[str, torch.Tensor]':
    """Read the tensors of a state dict, by their names without prefixes; other entries are left out.

    Raises:
        CheckpointError: a tensor has no name, or the name of another one.
    """
    state_dict = OrderedDict()
    for name, value in found.saved.items():
        if not is_tensor(value):
            continue
        if type(name) is not str:
            raise CheckpointError(
                f'a tensor in the state dict of {path} has a name of type {type_name(name)}; tensors with'
                ' names are expected'
            )
        prefix = _PREFIX.match(name)
        name = name[prefix.end() :] if prefix else name
        if name in state_dict:
            raise CheckpointError(
                f'{path} has {printable(name)!r} twice, with and without "module." or "model."'
            )
        state_dict[name] = file.tensor(value)
    return state_dict


def dictionary(value: Any) -> Optional[Dict[Any, Any]]:
    """The entries of a dictionary or of an object of a subclass; None for anything else."""
    if isinstance(value, dict):
        return value
    return value.entries if type(value) is Inert else None


def is_tensor(value: Any) -> bool:
    """Whether it stands for a tensor."""
    return type(value) is Inert and value.args is not None and value.name in _TENSORS


def type_name(value: Any) -> str:
    """The type of a value, for messages."""
    if type(value) is Inert:
        return 'tensor' if is_tensor(value) else printable(value.name)
    return type(value).__name__


def printable(value: Any) -> str:
    """What a file says, for messages: without line breaks and control characters, and not too long."""
    return ''.join(filter(str.isprintable, ' '.join(str(value)[:500].split())))[:120]


def _nested(entries: Dict[Any, Any]) -> Dict[str, _Entry]:
    """The entries with names of the first two levels, by dotted name, but those of the training. What has
    tensors itself is not searched further, and nothing is searched twice."""
    found, known = OrderedDict(), {}
    for name, value in _named(entries):
        inner = dictionary(value)
        first = inner is not None and id(inner) not in known
        found[name] = _Entry(value, _dimensions(inner, known))
        if first and found[name].dimensions < 0:
            for inner_name, inner_value in _named(inner):
                inner_entry = _Entry(inner_value, _dimensions(dictionary(inner_value), known))
                found[f'{name}.{inner_name}'] = inner_entry
    return found


def _named(entries):
    return (item for item in entries.items() if type(item[0]) is str and not TRAINING.search(item[0]))


def _dimensions(entries: Optional[Dict[Any, Any]], known: Optional[Dict[int, int]] = None) -> int:
    """The most dimensions that a tensor with a name has, -1 without one.

    Args:
        entries: a dictionary, or None.
        known: id of a dictionary -> the result for it, so that none is searched twice.
    """
    known = {} if known is None else known
    if entries is None:
        return -1
    if id(entries) not in known:
        tensors = (part for name, part in entries.items() if type(name) is str and is_tensor(part))
        known[id(entries)] = max((len(tensor.args[2]) for tensor in tensors), default=-1)
    return known[id(entries)]


def _checked(path: str, key: str, value: Any) -> Dict[Any, Any]:
    """The state dict that is the entry ``key``."""
    entries = dictionary(value)
    if entries is None:
        raise CheckpointError(
            f'the {printable(key)} of {path} is of type {type_name(value)}, not a dictionary of tensors'
            + ('; save model.state_dict() instead' if _is_network(value) else '')
        )
    if not entries:
        raise CheckpointError(f'the state dict of {path} is empty')
    if not any(map(is_tensor, entries.values())):
        raise CheckpointError(
            f'the {printable(key)} of {path} holds no tensors; its entries: {_list(entries)}'
        )
    return entries


def _is_network(value: Any) -> bool:
    return type(value) is Inert and type(value.state) is dict and '_modules' in value.state


def _list(names: Iterable[Any]) -> str:
    names = [printable(name)[:60] for name in names]
    return ', '.join(names[:_MOST_LISTED]) + ', ...' * (len(names) > _MOST_LISTED)
