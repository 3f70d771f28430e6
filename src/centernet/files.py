"""Write files atomically, lock temporary files, and describe paths."""

import contextlib
import fcntl
import glob
import hashlib
import os
import re
import shutil
import tempfile
from typing import IO, Iterator

from .errors import OutputError


@contextlib.contextmanager
def atomic_write(path: str, mode: str = 'w') -> Iterator[IO]:
    """Open a temporary file beside ``path`` and rename it to ``path`` once the block ends without an error.

    Temporary files that killed processes left behind are removed first.

    Args:
        path: the file to write. An existing file is replaced in one step.
        mode: ``'w'`` (UTF-8 text) or ``'wb'``.

    Yields:
        The open file.

    Raises:
        OutputError: the file cannot be created, written or renamed.
    """
    if mode not in ('w', 'wb'):
        raise ValueError(f"mode must be 'w' or 'wb', not {mode!r}")
    path = os.path.abspath(path)
    prefix = os.path.join(os.path.dirname(path), '.' + os.path.basename(path) + '.')
    try:
        remove_leftovers(prefix, '.part')
        handle, temporary = _locked_file(prefix, '.part')
    except OSError as error:
        raise OutputError(f'cannot write {display_path(path)}: {error.strerror}') from error
    try:
        with open(handle, mode, encoding=None if 'b' in mode else 'utf-8') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())  # mkstemp creates private files
            os.replace(temporary, path)  # while still locked
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise OutputError(f'cannot write {display_path(path)}: {error.strerror or error}') from error
        raise


def remove_leftovers(prefix: str, suffix: str = '') -> None:
    """Remove the temporary files and folders of killed processes: ``<prefix>????????<suffix>``.

    Those of running processes are locked (:func:`lock`) and kept. On file systems without locks all are kept.
    """
    name = re.compile(re.escape(prefix) + r'[a-z0-9_]{8}' + re.escape(suffix) + '$')
    for path in filter(name.match, glob.glob(glob.escape(prefix) + '*')):
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)
        except OSError:
            pass
        finally:
            os.close(handle)


def remove_file(path: str) -> None:
    """Remove a file if it is there.

    Raises:
        OutputError: it cannot be removed.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise OutputError(f'cannot remove {display_path(path)}: {error.strerror}') from error


def lock(handle: int) -> bool:
    """Protect an open temporary file or folder from :func:`remove_leftovers` until it is closed.

    Returns:
        False if it has been removed already.
    """
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX)
    return os.fstat(handle).st_nlink > 0


def _locked_file(prefix, suffix):
    """Create and lock a file with a new name; return its handle and path."""
    while True:
        handle, path = tempfile.mkstemp(
            prefix=os.path.basename(prefix), suffix=suffix, dir=os.path.dirname(prefix)
        )
        if lock(handle):
            return handle, path
        os.close(handle)


def ensure_folder(path: str) -> str:
    """Create the folder ``path`` if it is missing, and check that files can be created in it.

    Returns:
        The absolute path.

    Raises:
        OutputError: the folder cannot be created or written to.
    """
    path = os.path.abspath(path)
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OutputError(
            f'the output folder {display_path(path)} cannot be written: {error.strerror}'
        ) from error
    return path


def display_path(path: str) -> str:
    """Return ``path`` for display: relative to the working folder if it is inside it, absolute otherwise.

    A relative path printed in the container is also valid on the host.
    """
    path = os.path.abspath(path)
    here = os.path.join(os.getcwd(), '')
    return path[len(here) :] if path.startswith(here) else path


def sha256(path: str) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
