"""What comes out of a zip: only what the manifest names, no larger than it says, whole or not at all."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from typing import Any, Dict, Iterator, List, Optional

from ..errors import FetchError, OutputError
from ..files import ensure_folder, sha256
from .manifest import Folder, Item, Member

#: a folder beside what is unpacked: archives, what is half done, and records of the folders
WORK = '.fetch'
_BLOCK = 1 << 20


@contextlib.contextmanager
def working_folder(root: str) -> Iterator[str]:
    """The folder beside what is unpacked, for one process at a time. It stays: it has the records of what was
    unpacked.

    What is half done has fixed names in it, so that a run that was killed leaves nothing behind that the next
    one does not replace.

    Raises:
        OutputError: it cannot be written, or another process has it.
    """
    path = ensure_folder(os.path.join(root, WORK))
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f'another process is fetching into {root}') from None
        except OSError:
            pass  # a file system without locks
        yield path
    finally:
        os.close(handle)


def unpack(archive: str, item: Item, root: str, work: str, replace: bool = False) -> None:
    """Unpack what is not there yet.

    Args:
        archive: the zip; its size and SHA-256 are those of ``item``.
        item: says what it becomes.
        root: the folder that this goes into.
        work: its :func:`working_folder`.
        replace: also a folder that nothing here can check.

    Raises:
        FetchError: the zip is damaged, or holds something else than the manifest says.
        OutputError: it cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            for part in item.unpack:
                if look(part, item, root)[0] not in (('right',) if replace else ('right', 'unknown')):
                    (_unpack_file if isinstance(part, Member) else _unpack_folder)(
                        content, part, item, root, work
                    )
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        raise FetchError(f'{archive} cannot be unpacked: {error}') from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # the zip's directory points before its beginning
            raise FetchError(f'{archive} cannot be unpacked: it is damaged') from error
        raise OutputError(f'cannot unpack {archive} into {root}: {error.strerror or error}') from error


def leftovers(item: Item, root: str) -> List[str]:
    """What a fetch of this item that was killed, or has just ended, left in the working folder: paths of
    files and folders."""
    names = [item.name, item.name + '.part']
    for part in item.unpack:
        last = part.path.split('/')[-1]
        names += [last + '.part'] if isinstance(part, Member) else [last, last + '.old', last + '.json.part']
    paths = [os.path.join(root, WORK, name) for name in names]
    return [path for path in paths if os.path.lexists(path)]


def clean(item: Item, root: str) -> None:
    """Remove the leftovers; the caller has the working folder."""
    for path in leftovers(item, root):
        _remove(path)


def look(part, item: Item, root: str, thorough: bool = False):
    """Whether a part of a zip is there.

    Args:
        part: a Member or a Folder.
        item: the zip.
        root: the folder that it would be in.
        thorough: read a folder's files, too, not only their names and sizes.

    Returns:
        (state, why): ``right``; ``missing``; ``damaged`` (a folder that was unpacked here, and is no longer
        what it was); ``unknown`` (a folder with the right number of files, which nothing here can check);
        ``foreign`` (something else has the name).
    """
    path = os.path.join(root, *part.path.split('/'))
    if not os.path.lexists(path):
        return 'missing', f'{path} is not there'
    if isinstance(part, Member):
        return look_at_file(path, part.bytes, part.sha256)
    if not os.path.isdir(path):
        return 'foreign', f'{path} is not a folder'
    record = _read_record(part, root)
    if record is None or record.get('archive_sha256') != item.sha256:
        try:
            count = sum(name.endswith(part.suffix) for name in os.listdir(path))
        except OSError as error:
            return 'foreign', f'{path} cannot be read: {error.strerror}'
        if count == part.files:
            return (
                'unknown',
                f'{path} was not unpacked by this program, so there is no record to check it against',
            )
        return 'foreign', f'{path} has {count} {part.suffix} files, not {part.files}'
    wrong = [
        name
        for name, (size, digest) in sorted(record['files'].items())
        if not _is_same(os.path.join(path, name), size, digest if thorough else None)
    ]
    if wrong:
        return (
            'damaged',
            f'{len(wrong)} of {part.files} files of {path} are missing or changed, {wrong[0]} for one',
        )
    return 'right', ''


def look_at_file(path: str, size: int, digest: str):
    """Whether a file is there, as (state, why): ``right``, ``missing`` or ``foreign``."""
    if not os.path.lexists(path):
        return 'missing', f'{path} is not there'
    if _is_same(path, size, digest):
        return 'right', ''
    return 'foreign', f'{path} is another file: its size or SHA-256 is not {size} bytes, {digest[:12]}...'


def _is_same(path, size, digest):
    try:
        if not os.path.isfile(path) or os.path.getsize(path) != size:
            return False
        return digest is None or sha256(path) == digest
    except OSError:
        return False


def _unpack_file(content, part, item, root, work):
    path = os.path.join(root, *part.path.split('/'))
    info = _members(content).get(part.path)
    if info is None:
        raise FetchError(f'{item.name} holds no {part.path}')
    _check(info, item)
    if info.file_size != part.bytes:
        raise FetchError(f'{item.name}: {part.path} has {info.file_size} bytes, not {part.bytes}')
    ensure_folder(os.path.dirname(path))
    if os.path.isdir(path) and not os.path.islink(path):
        raise OutputError(f'{path} is a folder: move it away')
    temporary = os.path.join(work, os.path.basename(path) + '.part')
    with open(temporary, 'wb') as file:
        found = _copy(content, info, file)
        file.flush()
        os.fsync(file.fileno())
    if found != (part.bytes, part.sha256):
        os.unlink(temporary)
        raise FetchError(f'{item.name}: {part.path} is another file than expected (SHA-256)')
    os.replace(temporary, path)


def _unpack_folder(content, part, item, root, work):
    """Into the working folder first, and from there into its place."""
    members = _wanted(content, part, item)
    new, old = os.path.join(work, part.path), os.path.join(work, part.path + '.old')
    for folder in (new, old):
        _remove(folder)
    os.mkdir(new)
    files = {}
    for name, info in members.items():
        with open(os.path.join(new, name), 'xb') as file:
            files[name] = _copy(content, info, file)
    path = os.path.join(root, part.path)
    if os.path.lexists(path):
        os.rename(path, old)
    # The record first: without its folder it says nothing, but a folder without its record would be somebody
    # else's.
    record = _record_path(part, root)
    with open(record + '.part', 'w', encoding='utf-8') as file:
        json.dump({'archive': item.name, 'archive_sha256': item.sha256, 'files': files}, file, sort_keys=True)
    os.replace(record + '.part', record)
    os.rename(new, path)
    _remove(old)


def _remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _wanted(content, part, item):
    """Plain name -> member, for the folder's files; the rest of the archive is left alone."""
    found = {}
    for path, info in _members(content).items():
        if not path.startswith(part.path + '/') or path == part.path + '/':
            continue
        name = path[len(part.path) + 1 :]
        if not re.match(r'[A-Za-z0-9_][A-Za-z0-9_.-]*\Z', name) or not name.endswith(part.suffix):
            raise FetchError(f'{item.name}: {path!r} is not one of the {part.suffix} files of {part.path}')
        _check(info, item)
        found[name] = info
    if len(found) != part.files:
        raise FetchError(f'{item.name} holds {len(found)} files of {part.path}, not {part.files}')
    if len({name.lower() for name in found}) != len(found):
        raise FetchError(f'{item.name}: names in {part.path} differ by case alone')
    total = sum(info.file_size for info in found.values())
    if total > part.bytes_at_most:
        raise FetchError(
            f'{item.name}: {part.path} would become {total} bytes, and {part.bytes_at_most} at most are'
            ' expected'
        )
    return found


def _members(content):
    """Name -> member."""
    found = {}
    for info in content.infolist():
        if info.filename in found:
            raise FetchError(f'{content.filename} holds {info.filename!r} twice')
        found[info.filename] = info
    return found


def _check(info, item):
    """Refuse what is no plain file."""
    mode = info.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise FetchError(f'{item.name}: {info.filename!r} is no plain file but a link or the like')
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FetchError(
            f'{item.name}: {info.filename!r} is encrypted, or packed in a way that COCO does not use'
        )


def _copy(content, info, file):
    """Copy a member; returns (size, SHA-256). zipfile gives no more than the size that was checked, and
    compares the CRC."""
    digest, size = hashlib.sha256(), 0
    with content.open(info) as source:
        for block in iter(lambda: source.read(_BLOCK), b''):
            digest.update(block)
            size += len(block)
            file.write(block)
    if size != info.file_size:
        raise FetchError(f'{content.filename}: {info.filename!r} ends after {size} of {info.file_size} bytes')
    return size, digest.hexdigest()


def _record_path(part: Folder, root: str) -> str:
    return os.path.join(root, WORK, part.path + '.json')


def _read_record(part: Folder, root: str) -> Optional[Dict[str, Any]]:
    try:
        with open(_record_path(part, root), encoding='utf-8') as file:
            record = json.load(file)
        if len(record['files']) == part.files:
            return record
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None
