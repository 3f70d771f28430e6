"""Read a checkpoint: recognise the file, read it without running code, and bring it to one form."""

import os
import pickle
import re
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from typing import NamedTuple

import torch

from ..compat import HAS_WEIGHTS_ONLY
from ..errors import CheckpointError
from ..files import sha256
from .containers import LEGACY_MAGIC, DamagedError, LegacyFile, Stream, ZipFile
from .restricted import RefusedError, RestrictedUnpickler, TensorClaim

#: state_dict: names without ``module.`` -> CPU tensors, floating point as float32; epoch: int or None; sha256
#: of the file; meta: the other entries that are numbers, text or lists and dictionaries of them, without
#: ``optimizer``
Checkpoint = NamedTuple(
    'Checkpoint', [('state_dict', OrderedDict), ('epoch', object), ('sha256', str), ('meta', dict)]
)

_HTML_STARTS = (b'<!doctype', b'<html', b'<head', b'<?xml')
# What reading a storage raises where the file is damaged.
_READ_ERRORS = (DamagedError, EOFError, MemoryError, OSError, RuntimeError, ValueError, zipfile.BadZipFile)
_META_DEPTH = 6
_META_ENTRIES = 10000


def read_checkpoint(path):
    """Read a ``.pth`` file: ``{'epoch', 'state_dict'[, 'optimizer', ...]}`` or a bare state dict, legacy or
    zip format.

    No code from the file is run. The restricted unpickler of this package goes through the file first, on
        every torch: it
    names what it refuses, and finds claims that the file does not hold (for some of which torch returns
    memory as it happens to be). The tensors are then torch's own reading, with ``weights_only``, where torch
    has that (>= 1.13).

    Returns:
        Checkpoint.

    Raises:
        CheckpointError: the file is missing, is none, is damaged, would run code, or has no state dict.
    """
    path = os.fspath(path)
    saved, container = _open(path)
    try:
        entries, rest = _state_dict(path, saved)
        state_dict = OrderedDict()
        elements, limit = 0, os.path.getsize(path)
        for name, value in entries:
            if name.startswith('module.'):
                name = name[len('module.') :]
            if name in state_dict:
                raise CheckpointError(f'{path} has {name} twice, with and without "module."')
            elements += _elements(value)
            if elements > limit or max(_sizes(value), default=0) > limit:
                raise CheckpointError(
                    f'{path} is damaged: its tensors claim more elements than the file has bytes'
                )
            state_dict[name] = _float32(path, name, container.tensor(value) if container else value)
    except _READ_ERRORS as error:
        raise _error(path, error) from error
    finally:
        if container:
            container.close()
    epoch = _plain(rest.pop('epoch', None))
    rest.pop('optimizer', None)
    meta = {key: _plain(value) for key, value in rest.items() if isinstance(key, str)}
    return Checkpoint(
        state_dict,
        epoch if type(epoch) is int else None,
        sha256(path),
        {key: value for key, value in meta.items() if value is not None},
    )


def _open(path):
    """The saved object, and the container its TensorClaims are in; None where the tensors are torch's
    already."""
    container_type = _recognise(path)
    container = None
    try:
        container = container_type(path)
        saved = container.load()
        if HAS_WEIGHTS_ONLY:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter('ignore')
                    saved = torch.load(path, map_location='cpu', weights_only=True)
                container.close()
                container = None
            except (
                Exception
            ):  # it refuses more, such as numpy's numbers; a damage shows when the tensors are made below
                pass
        return saved, container
    except Exception as error:  # a damaged pickle may raise anything
        if container is not None:
            container.close()
        raise _error(path, error) from error


def _recognise(path):
    """LegacyFile or ZipFile, by the file's first bytes."""
    if os.path.isdir(path):
        raise CheckpointError(f'{path} is a folder, not a checkpoint')
    try:
        with open(path, 'rb') as file:
            head = file.read(1 << 16)
    except FileNotFoundError:
        raise CheckpointError(f'there is no checkpoint {path}') from None
    except OSError as error:
        raise CheckpointError(f'cannot read the checkpoint {path}: {error.strerror}') from error
    text = head.lstrip(b'\xef\xbb\xbf \t\r\n')
    if not head:
        raise CheckpointError(f'{path} is empty: download or copy it again')
    if head.startswith(b'PK\x03\x04'):
        return ZipFile
    if text.lower().startswith(_HTML_STARTS):
        raise CheckpointError(
            f'{path} is a web page{_title(text)}, not a checkpoint: the download gave a page in place of the'
            ' file (Google Drive does so for large files and when a quota is used up); fetch it in a browser'
        )
    if text.startswith(b'version https://git-lfs'):
        raise CheckpointError(f'{path} is a Git LFS pointer, not the checkpoint itself: run git lfs pull')
    if _is_tar(head):  # also torch's format before 0.2, whose reader in torch.load has run code
        raise CheckpointError(
            f'{path} is a tar archive, not a checkpoint: unpack it, or save it again with a newer torch'
        )
    if LEGACY_MAGIC in head[:32]:
        return LegacyFile
    raise CheckpointError(f'{path} is not a checkpoint of torch.save{_what_else(path, head)}')


def _is_tar(head):
    """Whether a file starts with the header of a tar archive. Not by tarfile.open, which also reads what the
    header announces."""
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], 'latin1', 'strict')
    except Exception:  # tarfile raises more than its own errors
        return False
    return True


def _title(page):
    found = re.search(b'<title[^>]*>([^<]+)', page, re.IGNORECASE)
    title = ' '.join(found.group(1).decode('utf-8', 'replace').split()) if found else ''
    return ' ("{}")'.format(''.join(filter(str.isprintable, title))[:80]) if title else ''


def _what_else(path, head):
    """What to say of a file that has the start of no known format."""
    try:
        with open(path, 'rb') as file:
            RestrictedUnpickler(Stream(file)).load()
    except RefusedError as error:
        if re.match(r'[\w.]+$', error.name):
            return f': it is a pickle that asks for {error.name}, which was not run'
    except Exception:  # no pickle, or a damaged one
        pass
    else:
        return ': it is a pickle of something else'
    return f': it starts with {head[:8]!r}'


def _state_dict(path, saved):
    """The (name, tensor) pairs of the state dict, and a dictionary of the other entries."""
    if not isinstance(saved, dict):
        raise CheckpointError(f'{path} holds a {_type(saved)}, not a state dict')
    rest = dict(dict.items(saved))
    if 'state_dict' in rest:
        state_dict = rest.pop('state_dict')
        if not isinstance(state_dict, dict):
            raise CheckpointError(
                f'the state_dict of {path} is a {_type(state_dict)}, not a dictionary of tensors'
            )
    elif any(map(_is_tensor, rest.values())):
        state_dict, rest = saved, {}
    else:
        raise CheckpointError(
            '{} holds no state dict: its entries are {}'.format(path, _list(rest) or 'none')
        )
    if not state_dict:
        raise CheckpointError(f'the state dict of {path} is empty')
    for name, value in dict.items(state_dict):
        if not isinstance(name, str) or not _is_tensor(value):
            raise CheckpointError(
                f'entry {str(name)[:80]!r} in the state dict of {path} is a {_type(value)}, not a tensor'
            )
    return list(dict.items(state_dict)), rest


def _is_tensor(value):
    return isinstance(value, (torch.Tensor, TensorClaim))


def _elements(value):
    count = 1
    for length in _sizes(value):
        count *= length
    return count


def _sizes(value):
    return tuple(value.shape) if isinstance(value, torch.Tensor) else value.size


def _float32(path, name, tensor):
    if tensor.layout != torch.strided or tensor.device.type != 'cpu':
        raise CheckpointError(f'entry {name!r} in the state dict of {path} is not a plain tensor')
    tensor = tensor.detach()
    if tensor.dtype.is_floating_point:
        tensor = tensor.float()
    return tensor.contiguous()


def _plain(value, depth=0, room=None):
    """A copy of ``value`` where it is a number, text, or a list or dictionary of such; other parts become
    None."""
    room = [_META_ENTRIES] if room is None else room
    room[0] -= 1
    if room[0] < 0 or depth > _META_DEPTH:
        return None
    if type(value) in (bool, float, str):
        return value
    if type(value) is int:
        return value if value.bit_length() < 64 else None  # printing a huge one takes for ever
    if isinstance(value, (list, tuple)) and not _is_tensor(value):
        return [_plain(part, depth + 1, room) for part in value[:_META_ENTRIES]]
    if isinstance(value, dict):
        return {
            key: _plain(part, depth + 1, room)
            for key, part in list(dict.items(value))[:_META_ENTRIES]
            if isinstance(key, str)
        }
    return None


def _error(path, error):
    """What a reader raised, as the CheckpointError to show."""
    if isinstance(error, CheckpointError):
        return error
    if isinstance(error, RefusedError):
        return CheckpointError(
            '{} asks for {}, which is no part of a plain checkpoint and was not run; save '
            'model.state_dict() in its place'.format(path, ' '.join(error.name.split())[:120])
        )
    if isinstance(error, DamagedError):
        return CheckpointError(f'{path} {error}')
    if isinstance(error, EOFError):
        return CheckpointError(
            f'{path} is truncated: it ends in the middle of its pickle; download or copy it again'
        )
    if isinstance(error, MemoryError):
        return CheckpointError(f'{path} is damaged, or too large for the memory')
    if isinstance(error, OSError):
        return CheckpointError(f'cannot read the checkpoint {path}: {error.strerror or error}')
    kind = 'pickle' if isinstance(error, pickle.UnpicklingError) else type(error).__name__
    return CheckpointError(
        '{} is damaged ({}: {}); download or copy it again'.format(
            path, kind, ' '.join(str(error).split())[:120]
        )
    )


def _type(value):
    return 'tensor' if _is_tensor(value) else type(value).__name__


def _list(names, most=8):
    names = [str(name)[:40] for name in names]
    return ', '.join(names[:most]) + (', ...' if len(names) > most else '')
