"""Read a checkpoint: recognise the file, read it without running code, and bring it to one form."""

import os
from collections import OrderedDict
from typing import Any, Dict, NamedTuple, Optional, Type, Union

import torch

from ...system.errors import CheckpointError
from ...system.files import sha256
from .file_formats import LEGACY_MAGIC, LegacyFile, SavedFile, ZipFile
from .meta import plain_values
from .state_dicts import TRAINING, dictionary, find_state_dict, is_tensor, printable, tensors_of
from .unpickler import RefusedError


class Checkpoint(NamedTuple):
    """What a ``.pth`` file holds."""

    #: names without prefixes such as ``module.`` -> CPU tensors, floating point as float32
    state_dict: 'OrderedDict[str, torch.Tensor]'
    epoch: Optional[int]
    #: of the file
    sha256: str
    #: the other entries that are numbers, text, or lists and dictionaries of these, without the optimizer
    meta: Dict[str, Any]
    #: the entry that the state dict is, such as ``ema.state_dict``; '' where the file holds nothing else
    entry: str = ''


def read_checkpoint(path: Union[str, 'os.PathLike[str]'], weights_key: Optional[str] = None) -> Checkpoint:
    """Read a ``.pth`` file, in the legacy or zip format, without running code from it.

    The file holds a state dict, or a dictionary with one in it: ``{'epoch', 'state_dict'[, 'optimizer',
    ...]}``, or with other names (:func:`.state_dicts.find_state_dict`).

    Args:
        path: the file.
        weights_key: the entry of the state dict, dotted where it is nested; needed where there are several.

    Raises:
        CheckpointError: the file is missing, is not a checkpoint, is damaged, would run code, or has no state
            dict, or several.
    """
    path = os.fspath(path)
    try:
        with open(path, 'rb') as file:
            head = file.read(64)
            file.seek(0)
            saved_file = _format_of(path, head)(file)
            found = find_state_dict(path, saved_file.saved, weights_key)
            state_dict = tensors_of(path, found, saved_file)
            omitted = found.name.partition('.')[0]
            entries = dictionary(saved_file.saved).items()
            kept = {
                name: value
                for name, value in entries
                if type(name) is str
                and name != omitted
                and not TRAINING.search(name)
                and not (is_tensor(value) and not omitted)
            }
            meta = plain_values(kept, saved_file)
    except FileNotFoundError:
        raise CheckpointError(f'checkpoint not found: {path}') from None
    except CheckpointError:
        raise
    except RefusedError as error:
        raise CheckpointError(f'{path} {printable(error)}') from error
    except OSError as error:
        raise CheckpointError(f'cannot read the checkpoint {path}: {error.strerror or error}') from error
    except Exception as error:  # a damaged pickle may raise anything
        kind = '' if type(error) is ValueError else f'{type(error).__name__}: '
        raise CheckpointError(f'{path} is truncated or damaged ({kind}{printable(error)})') from error
    epoch = meta.pop('epoch', None)
    return Checkpoint(state_dict, epoch if type(epoch) is int else None, sha256(path), meta, found.name)


def _format_of(path: str, head: bytes) -> Type[SavedFile]:
    """The format of a file, by its first bytes."""
    if head.startswith(b'PK\x03\x04'):
        return ZipFile
    if LEGACY_MAGIC in head[:32]:
        return LegacyFile
    raise CheckpointError(
        f'{path} is not a checkpoint of torch.save: it starts with {head[:40]!r}; download it again'
    )
