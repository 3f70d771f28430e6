"""Write files atomically, and describe paths."""

import contextlib
import fcntl
import hashlib
import os
import tempfile
from typing import IO, Iterator

from .errors import OutputError


@contextlib.contextmanager
def atomic_write(path: str, mode: str = 'w') -> Iterator[IO]:
    """Open a temporary file beside ``path`` and rename it to ``path`` once the block ends without an error.

    The temporary file has one name, ``.<name>.part``, so what a killed process left behind is written over. A
    lock makes a second writer of the same path wait.

    Args:
        path: the file to write. An existing file is replaced in one step.
        mode: ``'w'`` (UTF-8 text) or ``'wb'``.

    Yields:
        The open file.

    Raises:
        OutputError: the file cannot be created, written or renamed.
    """
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, f'.{name}.part')
    try:
        handle = _open_locked(temporary)
        with open(handle, mode, encoding=None if 'b' in mode else 'utf-8') as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)  # while still locked
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
    except OSError as error:
        raise OutputError(f'cannot write {display_path(path)}: {error.strerror or error}') from error


def _open_locked(path):
    """Open a file for writing, empty and locked; return its handle."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                os.ftruncate(handle, 0)
                return handle
        os.close(handle)  # whoever held the lock has renamed or removed the file


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
        raise OutputError(f'the folder {display_path(path)} cannot be written: {error.strerror}') from error
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
