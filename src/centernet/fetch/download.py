"""One file from the first of its mirrors that has it, whole and checked, or not at all."""

import contextlib
import fcntl
import logging
import os
import random
import sys
import time
from typing import NamedTuple, Optional
from urllib.parse import urlsplit

import requests
from tqdm import tqdm

from ..errors import FetchError, OutputError
from ..files import sha256
from .answers import Failed, Refused, ask
from .manifest import Item

_log = logging.getLogger(__name__)


class Policy(NamedTuple):
    """How long a mirror is tried.

    ``timeout``: seconds without an answer, or without a block of data. ``attempts``: in a row that bring
    nothing to speak of, until the next mirror's turn comes. ``first_wait``: seconds before the second
    attempt; each further wait is twice as long, up to ``longest_wait``. ``longest_retry_after``: a server
    that asks for a longer wait than this is given up.
    """

    timeout: float = 60.0
    attempts: int = 5
    first_wait: float = 1.0
    longest_wait: float = 30.0
    longest_retry_after: float = 120.0


DEFAULT_POLICY = Policy()


def download(
    item: Item, path: str, policy: Policy = DEFAULT_POLICY, progress: bool = True, own: Optional[str] = None
) -> str:
    """Download a file; until it is whole and right it is called ``<path>.part``, and a later call goes on
    with that.

    Args:
        item: says where it is, and its size and SHA-256.
        path: what it will be called. An existing file is replaced in one step.
        policy: how long to try.
        progress: show a bar on stderr.
        own: where a copy that the user has belongs, for the message; None: at ``path``.

    Returns:
        The address that the last of it came from, or the path of the partial file if that was whole.

    Raises:
        FetchError: none of the mirrors gives it; the message has each one's reason.
        OutputError: it cannot be written, or another process is fetching it.
    """
    reasons = []
    with _Part(path) as part:
        if part.size() >= item.bytes and part.has(item):
            part.take_name(path)
            return part.path
        for address in item.mirrors:
            with requests.Session() as session:
                try:
                    _from_mirror(session, address, item, part, policy, progress)
                except Refused as error:
                    reasons.append(f'{shown(address)}: {error}')
                    _log.info('%s is not to be had from %s: %s', item.name, shown(address), error)
                    continue
            part.take_name(path)
            return shown(address)
    raise FetchError(
        'cannot fetch {}. {}. A copy that you have can be put to {}: it is checked, and taken'.format(
            item.name, '. '.join(reasons), own or path
        )
    )


def shown(address: str) -> str:
    """An address without the name and the password that it may hold."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition('@')[2]).geturl()


def _from_mirror(session, address, item, part, policy, progress):
    """Fill the partial file until it is the right one."""
    attempts, ranges = 0, True
    from_here = part.size() == 0  # what is in it came from nowhere else
    # Less than this is no progress: a server that sends a little and hangs up would be asked for ever.
    enough = min(1 << 20, max(1, item.bytes // 100))
    while True:
        if part.size() >= item.bytes:
            if part.has(item):
                return
            part.clear()
            if from_here:
                raise Refused('its file has the right size but not the right content (SHA-256)')
            _log.info('what was there of %s does not belong to it: once more from the beginning', item.name)
            from_here = True
        before = part.size()
        try:
            _attempt(ask(session, address, before, item.bytes, policy.timeout, ranges), item, part, progress)
            continue
        except Failed as error:
            failure = error
        ranges = ranges and not failure.no_ranges
        attempts = 0 if part.size() - before >= enough else attempts + 1
        if attempts >= policy.attempts:
            raise Refused(f'{failure} ({attempts} attempts)') from failure
        wait = min(policy.longest_wait, policy.first_wait * 2 ** max(0, attempts - 1)) * random.uniform(
            0.75, 1.25
        )
        if failure.wait is not None:
            if failure.wait > policy.longest_retry_after:
                raise Refused(
                    f'{failure}, and wants to be left alone for {failure.wait:.0f} seconds'
                ) from failure
            wait = max(wait, failure.wait)
        _log.info('%s: %s; trying again in %.1f s', item.name, failure, wait)
        time.sleep(wait)


def _attempt(answer, item, part, progress):
    """Append what an answer brings."""
    skip = part.size() - answer.start
    with tqdm(
        total=item.bytes,
        initial=part.size(),
        unit='B',
        unit_scale=True,
        desc=item.name,
        disable=not progress,
        file=sys.stderr,
        dynamic_ncols=True,
    ) as bar, contextlib.closing(answer.blocks):
        for block in answer.blocks:
            if skip:  # the server sends the file from its beginning
                block, skip = block[skip:], max(0, skip - len(block))
            block = block[: item.bytes - part.size()]
            part.add(block)
            bar.update(len(block))
            if part.size() >= item.bytes:
                return
    raise Failed(f'the connection ended after {part.size()} of {item.bytes} bytes')


class _Part:
    """A context manager around the partial file, which one process at a time may write to. It stays, unless
    it is empty."""

    def __init__(self, path: str) -> None:
        self.path = path + '.part'
        while True:
            with _writing(self.path):
                self._file = open(self.path, 'ab', buffering=0)
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.close()
                raise OutputError(f'another process is fetching {self.path}') from None
            except OSError:
                pass  # a file system without locks
            if self._is_under_its_name():
                return
            self._file.close()  # another process finished it in the meantime

    def __enter__(self) -> '_Part':
        return self

    def __exit__(self, *_) -> None:
        if self._is_under_its_name() and self.size() == 0:
            os.unlink(self.path)
        self._file.close()

    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def has(self, item: Item) -> bool:
        """Whether it is the right file."""
        try:
            return self.size() == item.bytes and sha256(self.path) == item.sha256
        except OSError as error:
            raise OutputError(f'cannot read {self.path} again: {error.strerror}') from error

    def add(self, block: bytes) -> None:
        with _writing(self.path):
            while block:
                block = block[self._file.write(block) :]

    def clear(self) -> None:
        with _writing(self.path):
            self._file.truncate(0)

    def take_name(self, path: str) -> None:
        with _writing(path):
            os.fsync(self._file.fileno())
            os.replace(self.path, path)

    def _is_under_its_name(self):
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path))
        except OSError:
            return False


@contextlib.contextmanager
def _writing(path):
    try:
        yield
    except OSError as error:
        raise OutputError(f'cannot write {path}: {error.strerror or error}') from error
