"""One request for a file, or for the rest of one: what a server may answer, and what that means."""

import contextlib
import email.utils
import os
import re
import socket
import threading
import time
from typing import Iterator, NamedTuple, Optional

import requests
import urllib3

from .. import __version__
from . import pages

#: a block is read at once; less than this in the time limit is a stall
BLOCK = 1 << 14
# 408, 425 and 5xx pass; so do 429 and 503, which may say when.
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_MEANINGS = {
    401: 'it wants a name and a password',
    403: 'it refuses the file (403): perhaps for a quota, a region or a proxy',
    404: 'it has no such file (404)',
    407: 'the proxy wants a name and a password: put them into HTTP_PROXY and HTTPS_PROXY',
    410: 'it no longer has the file (410)',
}


class Refused(Exception):
    """This mirror does not give the file; asking again is of no use."""


class Failed(Exception):
    """Something that may pass. ``wait``: seconds that the server asks for, or None. ``no_ranges``: ask for
    the whole file next time."""

    def __init__(self, message: str, wait: Optional[float] = None, no_ranges: bool = False) -> None:
        super().__init__(message)
        self.wait = wait
        self.no_ranges = no_ranges


class Answer(NamedTuple):
    """The file, or the rest of it: ``blocks`` of bytes, of which the first begins at ``start``."""

    start: int
    blocks: Iterator[bytes]


def ask(
    session: requests.Session, address: str, have: int, size: int, timeout: float, ranges: bool = True
) -> Answer:
    """Ask for a file from the byte ``have`` on.

    Args:
        session: keeps cookies from one page to the next.
        address: of the file; pages of Google Drive that ask whether one is sure are followed.
        have: bytes that are here already.
        size: of the whole file.
        timeout: seconds for an answer, and for each block of :data:`BLOCK` bytes.
        ranges: whether to ask for the rest only; servers that do not know that send the whole file.

    Raises:
        Refused, Failed: here or while the blocks are read.
    """
    headers = {'Accept-Encoding': 'identity', 'User-Agent': f'centernet/{__version__}'}
    if have and ranges:
        headers['Range'] = f'bytes={have}-'
    response, first, blocks = _get(session, address, headers, timeout)
    try:
        if _is_page(response, first):
            text = _text(first, blocks)
            further = pages.confirmation(text, response.url) if response.status_code in (200, 206) else None
            if further is None:
                raise _page_in_place_of_the_file(response, text)
            response.close()
            response, first, blocks = _get(session, further, headers, timeout)
            if _is_page(response, first):
                raise _page_in_place_of_the_file(response, _text(first, blocks))
        _check_status(response, size)
        return Answer(_check_extent(response, have, size), _joined(first, blocks, response))
    except BaseException:
        response.close()
        raise


def _get(session, address, headers, timeout):
    """(the response, its first block or b'', the other blocks)"""
    with _in_our_words(timeout):
        response = session.get(address, headers=headers, stream=True, timeout=timeout)
    try:
        blocks = _blocks(response, timeout)
        return response, next(blocks, b''), blocks
    except BaseException:
        response.close()
        raise


@contextlib.contextmanager
def _in_our_words(timeout):
    """Errors of the network become Refused or Failed."""
    kinds = requests.exceptions
    try:
        yield
    except (kinds.InvalidURL, kinds.InvalidSchema, kinds.TooManyRedirects) as error:
        raise Refused(f'it leads astray: {_cause(error)}') from error
    except (OSError, urllib3.exceptions.HTTPError) as error:  # those of requests are OSErrors
        if 'CERTIFICATE_VERIFY_FAILED' in str(error):
            raise Refused(
                "its certificate is not trusted here; REQUESTS_CA_BUNDLE names the file of a company's own"
                ' authority'
            ) from error
        if isinstance(error, kinds.Timeout) or 'timed out' in str(error):
            raise Failed(f'no answer in {timeout:g} seconds') from error
        who = 'the proxy cannot be used' if isinstance(error, kinds.ProxyError) else 'the connection failed'
        raise Failed(f'{who}: {_cause(error)}') from error


def _blocks(response, timeout):
    """The body, block by block; a connection on which blocks do not arrive in time is ended."""
    stalled = Failed(f'it stalls: less than {BLOCK} bytes in {timeout:g} seconds')
    with _in_our_words(timeout), _StallGuard(response, timeout) as guard:
        response.raw.enforce_content_length = (
            False  # it would throw away the bytes of the last block, where a connection ends early
        )
        try:
            for block in response.iter_content(BLOCK):
                guard.blocks += 1
                yield block
        except (OSError, urllib3.exceptions.HTTPError) as error:
            if guard.stalled:
                raise stalled from error
            raise
        if guard.stalled:
            raise stalled


class _StallGuard:
    """Shuts the connection down when a block takes longer than the time limit, however the bytes drip: each
    single one of them starts the socket's own time limit anew."""

    def __init__(self, response, timeout):
        self.blocks, self.stalled = 0, False
        self._timeout, self._ended = timeout, threading.Event()
        try:
            self._socket = socket.socket(fileno=os.dup(response.raw.fileno()))
        except (OSError, ValueError):  # there is no body, and so no connection any more
            self._socket = None
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        if self._socket is not None:
            self._thread.start()
        return self

    def __exit__(self, *_):
        if self._socket is not None:
            self._ended.set()
            self._thread.join()
            self._socket.close()

    def _watch(self):
        seen, since = self.blocks, time.monotonic()
        while not self._ended.wait(self._timeout / 10):
            if self.blocks != seen:
                seen, since = self.blocks, time.monotonic()
            elif time.monotonic() - since > self._timeout:
                self.stalled = True
                try:
                    self._socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                return


def _is_page(response, first):
    return pages.is_page(response.headers.get('Content-Type', ''), first)


def _text(first, blocks):
    content = first
    for block in blocks:
        content += block
        if len(content) >= pages.PAGE_BYTES:
            break
    return content.decode('utf-8', 'replace')


def _page_in_place_of_the_file(response, text):
    known = pages.known(text, response.status_code)
    if known:
        return Refused(known)
    return Refused(pages.describe(text)) if response.status_code in (200, 206) else _status_error(response)


def _check_status(response, size):
    if response.status_code == 416:
        match = re.match(r'bytes \*/([0-9]{1,18})\Z', response.headers.get('Content-Range', ''))
        if match and int(match.group(1)) != size:
            raise Refused(f'its file has {match.group(1)} bytes, not {size}')
        raise Failed('it does not give the rest of the file (416)', no_ranges=True)
    if response.status_code not in (200, 206):
        raise _status_error(response)


def _status_error(response):
    status = response.status_code
    if status in _PASSING:
        return Failed(
            'it answers {}{}'.format(status, ' (too many requests)' if status == 429 else ''),
            _retry_after(response),
        )
    return Refused(_MEANINGS.get(status, 'it answers {} {}'.format(status, response.reason or '').rstrip()))


def _retry_after(response):
    """Seconds that the server asks to wait, or None."""
    given = response.headers.get('Retry-After', '').strip()
    if re.match(r'[0-9]+\Z', given):
        return float(given[:9])
    try:
        return max(0.0, email.utils.mktime_tz(email.utils.parsedate_tz(given)) - time.time())
    except (TypeError, ValueError, IndexError, OverflowError):  # no date
        return None


def _check_extent(response, have, size):
    """Where the answer begins in the file."""
    encoding = response.headers.get('Content-Encoding', 'identity').strip().lower()
    if encoding not in ('', 'identity'):
        raise Refused(f'it sends the file encoded ({encoding}), which was not asked for')
    if response.status_code == 200:
        length = response.headers.get('Content-Length', '')
        if re.match(r'[0-9]{1,18}\Z', length) and int(length) != size:
            raise Refused(f'its file has {length} bytes, not {size}')
        return 0
    match = re.match(
        r'bytes ([0-9]{1,18})-[0-9]+/([0-9]{1,18}|\*)\Z', response.headers.get('Content-Range', '')
    )
    if match and match.group(2) not in ('*', str(size)):
        raise Refused(f'its file has {match.group(2)} bytes, not {size}')
    if not match or int(match.group(1)) != have:
        raise Failed('it gives another part of the file than was asked for', no_ranges=True)
    return have


def _joined(first, blocks, response):
    try:
        if first:
            yield first
        for block in blocks:
            yield block
    finally:
        blocks.close()
        response.close()


def _cause(error):
    """The innermost reason that the libraries give, in one line."""
    while True:
        inner = error.__cause__ or error.__context__ or getattr(error, 'reason', None)
        if not isinstance(inner, BaseException):
            return ' '.join(str(error).split())[:200] or type(error).__name__
        error = inner
