"""Read a checkpoint: recognise the file, read it without running code, and bring it to one form."""

import os
import re
from collections import OrderedDict
from typing import Any, Dict, NamedTuple, Optional, Type, Union

import torch

from ..errors import CheckpointError
from ..files import sha256
from .file_formats import LEGACY_MAGIC, LegacyFile, SavedFile, ZipFile
from .meta import plain_values
from .state_dicts import TRAINING, dictionary, find_state_dict, printable, tensors_of
from .unpickler import Pickles, RefusedError, Unpickler, UnreadableError

_HTML_STARTS = (b'<!doctype', b'<html', b'<head', b'<?xml')


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
    file_format = _recognise(path)
    try:
        with open(path, 'rb') as file:
            saved_file = file_format(file)
            found = find_state_dict(path, saved_file.saved, weights_key)
            state_dict = tensors_of(path, found, saved_file)
            omitted = found.name.partition('.')[0]
            meta = plain_values(
                {
                    name: value
                    for name, value in dictionary(saved_file.saved).items()
                    if type(name) is str and name != omitted and not TRAINING.search(name)
                },
                saved_file,
            )
    except CheckpointError:
        raise
    except RefusedError as error:
        raise CheckpointError(
            f'{path} asks for {printable(error)}, which is not part of a plain checkpoint and was not run;'
            ' save model.state_dict() instead'
        ) from error
    except UnreadableError as error:
        raise CheckpointError(
            f'{path} {error}; save it again with torch.save(model.state_dict(), path)'
        ) from error
    except OSError as error:
        raise CheckpointError(f'cannot read the checkpoint {path}: {error.strerror or error}') from error
    except MemoryError as error:
        raise CheckpointError(f'{path} is damaged, or does not fit into memory') from error
    except Exception as error:  # a damaged pickle may raise anything
        kind = '' if type(error) is ValueError else f'{type(error).__name__}: '
        raise CheckpointError(
            f'{path} is truncated or damaged ({kind}{printable(error)}); download or copy it again'
        ) from error
    epoch = meta.pop('epoch', None)
    return Checkpoint(state_dict, epoch if type(epoch) is int else None, sha256(path), meta, found.name)


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
            return f': it is a pickle that asks for {printable(error)}, which was not run'
    except Exception:  # not a pickle, or a damaged one
        pass
    else:
        return ': it is a pickle of something else'
    return f': it starts with {head[:8]!r}'
