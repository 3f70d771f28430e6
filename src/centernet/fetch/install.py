"""Bring the published files into their folders: verify what exists, download and unpack the rest."""

import contextlib
import fcntl
import logging
import os
from typing import Dict, Iterable, Iterator, NamedTuple

from ..system.errors import FetchError, OutputError
from ..system.files import display_path, ensure_folder, remove_file
from .catalog import RemoteFile, ZippedFolder
from .download import download, matches
from .unpack import unpack

_log = logging.getLogger(__name__)


class Status(NamedTuple):
    """What became of a file.

    ``state``: ``valid`` (it existed), ``fetched``, ``missing``, ``invalid`` (it exists and differs from the
    published file) or ``failed``. ``path``: the file or folder. ``detail``: the URL or path it came from, or
    the reason.
    """

    name: str
    state: str
    path: str
    detail: str = ''

    @property
    def usable(self) -> bool:
        """Whether the file is there and valid."""
        return self.state in ('valid', 'fetched')

    def __str__(self) -> str:
        line = f'{self.state:<8} {display_path(self.path)}'
        if not self.detail:
            return line
        return line + (f' from {self.detail}' if self.state == 'fetched' else f': {self.detail}')


def check(file: RemoteFile, folder: str) -> Status:
    """Verify a file in ``folder``, or what was unpacked from it, without changing anything.

    Files are compared by SHA-256. The images of a folder are counted: an image has its name only when it is
    whole.
    """
    wanted = file.contents or file
    path = os.path.join(folder, file.name if file.contents is None else wanted.path)
    if not os.path.lexists(path):
        return Status(file.name, 'missing', path)
    if not isinstance(wanted, ZippedFolder):
        if matches(wanted, path):
            return Status(file.name, 'valid', path)
        return Status(file.name, 'invalid', path, 'size or SHA-256 differs from the published file')
    try:
        with os.scandir(path) as entries:
            count = sum(entry.name.endswith(wanted.suffix) and entry.stat().st_size > 0 for entry in entries)
    except OSError as error:
        return Status(file.name, 'invalid', path, error.strerror or str(error))
    if count < wanted.count:
        return Status(file.name, 'missing', path, f'{count} of {wanted.count} images')
    return Status(file.name, 'valid', path)


def fetch(
    files: Iterable[RemoteFile], folders: Dict[str, str], timeout: float, attempts: int, progress: bool
) -> Iterator[Status]:
    """Download and unpack the files that are missing, and yield the status of each. Valid files are kept, and
    invalid ones are not replaced. One that fails does not keep the others from being fetched.

    Args:
        files: from :func:`.catalog.choose`.
        folders: group -> folder.
        timeout, attempts, progress: see :func:`.download.download`.

    Raises:
        OutputError: something cannot be written.
    """
    for file in files:
        folder = folders[file.group]
        status = check(file, folder)
        if status.state == 'missing':
            try:
                with _locked(ensure_folder(folder)):
                    source = _fetch(file, folder, timeout, attempts, progress)
                status = status._replace(state='fetched', detail=source)
            except FetchError as error:
                hint = f'If you have a copy of {file.name}, put it into {folder}'
                status = status._replace(state='failed', detail=f'{error}. {hint}')
        elif status.state == 'invalid':
            status = status._replace(detail=status.detail + '; move it away to download the file')
        else:
            remove_file(_archive(file, folder))  # a process killed after unpacking leaves it
        yield status


def _fetch(file, folder, timeout, attempts, progress):
    """Return the source of the file: a URL, or the path of an archive that the user has put there."""
    own, archive = os.path.join(folder, file.name), _archive(file, folder)
    if file.contents is None:
        return download(file, own, timeout, attempts, progress)
    if os.path.lexists(own):
        if not matches(file, own):
            raise FetchError(f'{own} differs from the published file (size or SHA-256): move it away')
        archive = source = own
    else:
        source = 'an interrupted run'
        if not matches(file, archive):
            source = download(file, archive, timeout, attempts, progress)
    _log.info('unpacking %s', file.name)
    unpack(archive, file.contents, folder)
    unpacked = check(file, folder)
    if not unpacked.usable:
        raise FetchError(f'{archive} does not contain what it should: {unpacked.detail}')
    remove_file(_archive(file, folder))
    return source


def _archive(file, folder):
    """A downloaded archive is hidden, so that it is not taken for one of the user's, which stays."""
    return os.path.join(folder, '.' + file.name)


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Keep other processes from fetching into a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise OutputError(f'another process is fetching into {folder}') from None
    except OSError:
        pass  # a file system without locks
    try:
        yield
    finally:
        os.close(handle)
