"""Read a checkpoint: recognise the file, read it without running code, and bring it to one form."""

import itertools
import os
import pathlib
import re
from collections import OrderedDict
from typing import Any, Dict, NamedTuple, Optional, Type, Union

import numpy as np
import torch

from ..errors import CheckpointError
from ..files import sha256
from .file_formats import LEGACY_MAGIC, LegacyFile, SavedFile, ZipFile
from .unpickler import Inert, Pickles, RefusedError, Unpickler

_HTML_STARTS = (b'<!doctype', b'<html', b'<head', b'<?xml')
_TENSORS = ('torch._utils._rebuild_tensor', 'torch._utils._rebuild_tensor_v2')
_META_DEPTH = 6
_META_ENTRIES = 10000


class Checkpoint(NamedTuple):
    """What a ``.pth`` file holds."""

    #: names without ``module.`` -> CPU tensors, floating point as float32
    state_dict: 'OrderedDict[str, torch.Tensor]'
    epoch: Optional[int]
    #: of the file
    sha256: str
    #: the other entries that are numbers, text, or lists and dictionaries of these, without ``optimizer``
    meta: Dict[str, Any]


def read_checkpoint(path: Union[str, 'os.PathLike[str]']) -> Checkpoint:
    """Read a ``.pth`` file, in the legacy or zip format, without running code from it.

    The file holds ``{'epoch', 'state_dict'[, 'optimizer', ...]}`` or a bare state dict.

    Raises:
        CheckpointError: the file is missing, is not a checkpoint, is damaged, would run code, or has no state
            dict.
    """
    path = os.fspath(path)
    file_format = _recognise(path)
    try:
        with open(path, 'rb') as file:
            saved_file = file_format(file)
            rest = _entries(path, saved_file.saved)
            state_dict = _state_dict(path, rest.pop('state_dict'), saved_file)
        meta = {
            key: _simplify(value) for key, value in rest.items() if type(key) is str and key != 'optimizer'
        }
    except CheckpointError:
        raise
    except RefusedError as error:
        raise CheckpointError(
            f'{path} asks for {_short(error)}, which is not part of a plain checkpoint and was not run; save'
            ' model.state_dict() instead'
        ) from error
    except OSError as error:
        raise CheckpointError(f'cannot read the checkpoint {path}: {error.strerror or error}') from error
    except MemoryError as error:
        raise CheckpointError(f'{path} is damaged, or does not fit into memory') from error
    except Exception as error:  # a damaged pickle may raise anything
        kind = '' if type(error) is ValueError else f'{type(error).__name__}: '
        raise CheckpointError(
            f'{path} is truncated or damaged ({kind}{_short(error)}); download or copy it again'
        ) from error
    epoch = meta.pop('epoch', None)
    return Checkpoint(
        state_dict,
        epoch if type(epoch) is int else None,
        sha256(path),
        {key: value for key, value in meta.items() if value is not None},
    )


def _recognise(path: str) -> Type[SavedFile]:
    """The file's format, by its first bytes."""
    if os.path.isdir(path):
        raise CheckpointError(f'{path} is a folder, not a checkpoint')
    try:
        with open(path, 'rb') as file:
            head = file.read(1 << 16)
    except FileNotFoundError:
        raise CheckpointError(f'checkpoint not found: {path}') from None
    except OSError as error:
        raise CheckpointError(f'cannot read the checkpoint {path}: {error.strerror}') from error
    text = head.lstrip(b'\xef\xbb\xbf \t\r\n')
    if not head:
        raise CheckpointError(f'{path} is empty: download or copy it again')
    if head.startswith(b'PK\x03\x04'):
        return ZipFile
    if text.lower().startswith(_HTML_STARTS):
        raise CheckpointError(
            f'{path} is a web page{_title(text)}, not a checkpoint: the server sent a page instead of the'
            ' file (Google Drive does so for large files and over quota); download it in a browser'
        )
    if text.startswith(b'version https://git-lfs'):
        raise CheckpointError(f'{path} is a Git LFS pointer, not the checkpoint itself: run git lfs pull')
    if head[257:262] == b'ustar':  # also torch's format before 0.2
        raise CheckpointError(
            f'{path} is a tar archive, not a checkpoint: unpack it, or save it again with a newer torch'
        )
    if LEGACY_MAGIC in head[:32]:
        return LegacyFile
    raise CheckpointError(f'{path} is not a checkpoint of torch.save{_what_else(head)}')


def _title(page: bytes) -> str:
    found = re.search(b'<title[^>]*>([^<]+)', page, re.IGNORECASE)
    title = ' '.join(found.group(1).decode('utf-8', 'replace').split()) if found else ''
    return ' ("{}")'.format(''.join(filter(str.isprintable, title))[:80]) if title else ''


def _what_else(head: bytes) -> str:
    """What to say of a file that starts like no known format."""
    try:
        Unpickler(Pickles(head)).load()
    except RefusedError as error:
        if re.match(r'[\w.]+$', str(error)):
            return f': it is a pickle that asks for {_short(error)}, which was not run'
    except Exception:  # not a pickle, or a damaged one
        pass
    else:
        return ': it is a pickle of something else'
    return f': it starts with {head[:8]!r}'


def _entries(path: str, saved: Any) -> Dict[Any, Any]:
    """The entries of a checkpoint; a bare state dict becomes the entry ``state_dict``."""
    if not isinstance(saved, dict):
        raise CheckpointError(f'{path} holds an object of type {_type(saved)}, not a state dict')
    if 'state_dict' in saved:
        return dict(saved)
    if any(map(_is_tensor, saved.values())):
        return {'state_dict': saved}
    names = [str(name)[:40] for name in saved if type(name) in (str, int)]
    raise CheckpointError(
        f'{path} holds no state dict; its entries: '
        + (', '.join(names[:8]) or 'none')
        + ', ...' * (len(names) > 8)
    )


def _state_dict(path: str, saved: Any, file: SavedFile) -> 'OrderedDict[str, torch.Tensor]':
    """The tensors of a saved state dict, by their names without ``module.``."""
    if not isinstance(saved, dict):
        raise CheckpointError(
            f'the state_dict of {path} is of type {_type(saved)}, not a dictionary of tensors'
        )
    if not saved:
        raise CheckpointError(f'the state dict of {path} is empty')
    state_dict = OrderedDict()
    for name, value in saved.items():
        if type(name) is not str or not _is_tensor(value):
            name = repr(name[:80]) if type(name) is str else f'with a name of type {_type(name)}'
            raise CheckpointError(
                f'entry {name} in the state dict of {path} is of type {_type(value)}; tensors with names are'
                ' expected'
            )
        if name.startswith('module.'):
            name = name[len('module.') :]
        if name in state_dict:
            raise CheckpointError(f'{path} has {name[:80]!r} twice, with and without "module."')
        state_dict[name] = file.tensor(value)
    return state_dict


def _is_tensor(value: Any) -> bool:
    return type(value) is Inert and value.args is not None and value.name in _TENSORS


def _simplify(value: Any, depth: int = 0, room: Optional[list] = None) -> Any:
    """A copy of ``value`` where it is a number, text, or a list or dictionary of such; other parts become
    None. Namespaces become dictionaries, numpy's numbers Python's, and paths text."""
    room = [_META_ENTRIES] if room is None else room
    room[0] -= 1
    if room[0] < 0 or depth > _META_DEPTH:
        return None
    if type(value) is Inert and value.args is not None:
        value = _python_value(value)
    if type(value) in (bool, float, str):
        return value
    if type(value) is int:
        return value if value.bit_length() < 64 else None
    if isinstance(value, (list, tuple)):
        return [_simplify(part, depth + 1, room) for part in value[:_META_ENTRIES]]
    if isinstance(value, dict):
        items = itertools.islice(value.items(), _META_ENTRIES)
        return {key: _simplify(part, depth + 1, room) for key, part in items if type(key) is str}
    return None


def _python_value(value: Inert) -> Any:
    """What an object stands for, as Python's own types; None for objects that are not kept."""
    if value.name == 'argparse.Namespace':
        return value.state
    if value.name == 'torch.Size':
        return value.args[0]
    if value.name.startswith('pathlib.'):
        return str(pathlib.PurePosixPath(*value.args))
    if value.name == 'numpy.core.multiarray.scalar':
        dtype, data = value.args
        if not re.match('(b1|[iu][1248]|f[248])$', dtype.args[0]):
            return None
        data = data.args[0].encode('latin1') if type(data) is Inert else data  # protocol 2 encodes bytes
        order = '>' if dtype.state[1] == '>' else '<'
        return np.frombuffer(data, order + dtype.args[0])[0].item()
    return None


def _short(error: Exception) -> str:
    return ' '.join(str(error).split())[:120]


def _type(value: Any) -> str:
    if type(value) is Inert:
        return 'tensor' if _is_tensor(value) else value.name
    return type(value).__name__
