"""Files that appear whole or not at all."""

import contextlib
import hashlib
import os
import tempfile

from .errors import OutputError


@contextlib.contextmanager
def atomic_write(path, mode='w'):
    """Open a temporary file beside ``path``; it takes the name ``path`` only when the block ends without an error.

    Args:
        path: the file to write. An existing file is replaced in one step.
        mode: ``'w'`` (UTF-8 text) or ``'wb'``.

    Yields:
        The open file.

    Raises:
        OutputError: the file cannot be created, written or renamed.
    """
    if mode not in ('w', 'wb'):
        raise ValueError("mode is 'w' or 'wb', not {!r}".format(mode))
    path = os.path.abspath(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix='.' + os.path.basename(path) + '.', suffix='.part',
                                             dir=os.path.dirname(path))
    except OSError as error:
        raise OutputError('cannot write {}: {}'.format(path, error.strerror)) from error
    try:
        with open(handle, mode, encoding=None if 'b' in mode else 'utf-8') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes it private
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise OutputError('cannot write {}: {}'.format(path, error.strerror or error)) from error
        raise


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
        raise OutputError('the output folder {} cannot be written: {}'.format(path, error.strerror)) from error
    return path


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
