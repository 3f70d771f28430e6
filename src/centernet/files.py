"""Files that appear whole or not at all."""

import contextlib
import fcntl
import glob
import hashlib
import os
import re
import shutil
import tempfile

from .errors import OutputError


@contextlib.contextmanager
def atomic_write(path, mode='w'):
    """Open a temporary file beside ``path``; it takes the name ``path`` only when the block ends without an
    error.

    What an earlier process left of such a file when it was killed is removed.

    Args:
        path: the file to write. An existing file is replaced in one step.
        mode: ``'w'`` (UTF-8 text) or ``'wb'``.

    Yields:
        The open file.

    Raises:
        OutputError: the file cannot be created, written or renamed.
    """
    if mode not in ('w', 'wb'):
        raise ValueError(f"mode is 'w' or 'wb', not {mode!r}")
    path = os.path.abspath(path)
    prefix = os.path.join(os.path.dirname(path), '.' + os.path.basename(path) + '.')
    try:
        remove_leftovers(prefix, '.part')
        handle, temporary = _locked_file(prefix, '.part')
    except OSError as error:
        raise OutputError(f'cannot write {path}: {error.strerror}') from error
    try:
        with open(handle, mode, encoding=None if 'b' in mode else 'utf-8') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes it private
            os.replace(temporary, path)  # while it is locked
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise OutputError(f'cannot write {path}: {error.strerror or error}') from error
        raise


def remove_leftovers(prefix, suffix=''):
    """Remove the temporary files and folders (``<prefix>........<suffix>``, as tempfile names them) of
    processes that were killed.

    Those of a process that is alive are locked (:func:`lock`) and stay. Where a file system has no locks, all
    stay.
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


def lock(handle):
    """Lock an open temporary file or folder against :func:`remove_leftovers` until it is closed; False if
    that has removed it."""
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX)
    return os.fstat(handle).st_nlink > 0


def _locked_file(prefix, suffix):
    """An open file of a new name, and the name."""
    while True:
        handle, path = tempfile.mkstemp(
            prefix=os.path.basename(prefix), suffix=suffix, dir=os.path.dirname(prefix)
        )
        if lock(handle):
            return handle, path
        os.close(handle)


def ensure_folder(path):
    """Make the folder ``path`` where it is missing, and try that a file can be made in it.

    Returns:
        The absolute path.

    Raises:
        OutputError: it cannot be made or written to.
    """
    path = os.path.abspath(path)
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OutputError(f'the output folder {path} cannot be written: {error.strerror}') from error
    return path


def display_path(path: str) -> str:
    """``path`` as it is shown to people: relative to the working folder where it lies in it, else absolute.

    In the container the relative form is valid on the host as well.
    """
    path = os.path.abspath(path)
    here = os.path.join(os.getcwd(), '')
    return path[len(here) :] if path.startswith(here) else path


def sha256(path):
    """The SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
