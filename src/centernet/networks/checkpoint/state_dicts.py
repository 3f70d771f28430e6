"""Find the state dict in what a checkpoint holds.

Training scripts save it alone, or as an entry: ``state_dict``, ``model``, ``net``, ``ema``,
``model_state_dict``, ``ema.state_dict``. So the names do not count here, only what the entries hold.
"""

import re
from collections import OrderedDict
from typing import Any, Dict, Iterable, NamedTuple, Optional

import torch

from ...system.errors import CheckpointError
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
    #: the most that a tensor in it has
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
        raise CheckpointError(f'{path} holds a {_type_name(saved)}: save model.state_dict() instead')
    # Random states and metrics are tensors of fewer dimensions; each network has a convolution.
    own = _dimensions(entries)
    nested = _nested(entries)
    if key in nested:
        return nested[key]
    if key is not None:
        raise CheckpointError(
            f'--weights-key {printable(key)}: entries with weights in {path} are {_list(nested) or "none"}'
        )
    weights = [found for found in nested.values() if found.dimensions >= 2]
    if own >= 0 and (not weights or own >= 4):  # convolutions are there already
        return Found('', entries, own)
    weights = weights or list(nested.values())
    if len(weights) > 1:
        raise CheckpointError(
            f'{path} holds several networks: --weights-key is one of {_list(found.name for found in weights)}'
        )
    if weights:
        return weights[0]
    parts = [f'{name} ({_type_name(value)})' for name, value in entries.items()]
    raise CheckpointError(
        f'{path} holds no state dict (its entries: {_list(parts) or "none"}): save model.state_dict()'
    )


def tensors_of(path: str, found: Found, file: SavedFile) -> 'OrderedDict[str, torch.Tensor]':
    """Read the tensors of a state dict, by their names without prefixes; other entries are left out.

    Raises:
        CheckpointError: a tensor has the name of another one.
    """
    state_dict = OrderedDict()
    for name, value in found.saved.items():
        if type(name) is not str or not is_tensor(value):
            continue
        prefix = _PREFIX.match(name)
        name = name[prefix.end() :] if prefix else name
        name = name.replace('.conv_offset.', '.conv_offset_mask.')  # mmcv's name of the same layer
        if name in state_dict:
            raise CheckpointError(f'{path} has {printable(name)!r} twice, such as with and without "module."')
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


def printable(value: Any) -> str:
    """What a file says, for messages: without line breaks and control characters, and not too long."""
    return ''.join(filter(str.isprintable, ' '.join(str(value)[:500].split())))[:120]


def _type_name(value: Any) -> str:
    if type(value) is Inert:
        return 'tensor' if is_tensor(value) else printable(value.name)
    return type(value).__name__


def _nested(entries: Dict[Any, Any]) -> 'OrderedDict[str, Found]':
    """The entries of the first two levels that hold tensors, by dotted name, but those of the training. What
    has tensors itself is not searched further, and nothing is searched twice."""
    found, known, level = OrderedDict(), {}, {'': entries}
    for _ in range(2):
        deeper = OrderedDict()
        for prefix, outer in level.items():
            for name, value in outer.items():
                inner = dictionary(value)
                if inner is None or type(name) is not str or TRAINING.search(name):
                    continue
                if id(inner) not in known:
                    known[id(inner)] = _dimensions(inner)
                    deeper[f'{prefix}{name}.'] = inner
                if known[id(inner)] >= 0:
                    found[prefix + name] = Found(prefix + name, inner, known[id(inner)])
                    deeper.pop(f'{prefix}{name}.', None)
        level = deeper
    return found


def _dimensions(entries: Dict[Any, Any]) -> int:
    """The most dimensions that a tensor with a name has, -1 without one."""
    tensors = (part for name, part in entries.items() if type(name) is str and is_tensor(part))
    return max((len(tensor.args[2]) for tensor in tensors), default=-1)


def _list(names: Iterable[Any]) -> str:
    names = [printable(name)[:60] for name in names]
    return ', '.join(names[:_MOST_LISTED]) + ', ...' * (len(names) > _MOST_LISTED)
