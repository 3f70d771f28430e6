"""Download one file over HTTP: retry, resume, verify, then rename."""

import contextlib
import logging
import os
import re
import sys
import time
from typing import Iterator, Union

import requests
import urllib3
from tqdm import tqdm

from ..system.errors import FetchError, OutputError
from ..system.files import remove_file, sha256
from ..version import __version__
from .catalog import RemoteFile, ZippedFile

_log = logging.getLogger(__name__)
_BLOCK = 1 << 16
_TEMPORARY_STATUSES = (408, 425, 429, 500, 502, 503, 504)
#: seconds before the first retry, doubled for each further one
BACKOFF = 1.0
#: bytes after which a connection that drops counts as the first failure again
PROGRESS = 1 << 20


class _Interruption(Exception):
    """The transfer ended early, and the missing part can be requested."""


def download(file: RemoteFile, path: str, timeout: float, attempts: int, progress: bool) -> str:
    """Download a file to ``path``. It is called ``<path>.part`` until its size and SHA-256 are right, and a
    later call resumes that.

    Args:
        file: its URLs, size and SHA-256.
        path: the destination; an existing file is replaced.
        timeout: seconds to wait for a connection, and for each block of data.
        attempts: how often a URL is tried before the next one.
        progress: show a bar on stderr.

    Returns:
        The URL that the file came from.

    Raises:
        FetchError: no URL works; the message has the reason for each.
        OutputError: the file cannot be written.
    """
    reasons = []
    for url in file.urls:
        public = re.sub('//[^/]*@', '//', url)  # without user name and password
        try:
            _download(url, file, path + '.part', timeout, attempts, progress)
        except (FetchError, requests.RequestException) as error:
            reasons.append(f'{public}: {_reason(error, timeout)}')
            _log.info('%s is unavailable from %s', file.name, reasons[-1])
            continue
        with writing(path):
            os.replace(path + '.part', path)
        return public
    raise FetchError(f'cannot download {file.name} from ' + '; '.join(reasons))


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Turn OSError into OutputError for ``path``."""
    try:
        yield
    except OSError as error:
        raise OutputError(f'cannot write {path}: {error.strerror or error}') from error


def matches(expected: Union[RemoteFile, ZippedFile], path: str) -> bool:
    """Return whether a file exists and has the expected size and SHA-256."""
    try:
        return os.path.getsize(path) == expected.size and sha256(path) == expected.sha256
    except OSError:
        return False


def size_of(path: str) -> int:
    """Return a file's size in bytes, 0 if there is no such file."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _download(url, file, part, timeout, attempts, progress):
    """Request the file, and the rest of it after each interruption, until the partial file is valid."""
    failures, resumed = 0, size_of(part) > 0
    while True:
        before = size_of(part)
        if before >= file.size:
            if matches(file, part):
                return
            remove_file(part)
            if not resumed:
                raise FetchError('the file differs from the published one (size or SHA-256)')
            _log.info('%s: the partial file is invalid; starting again', file.name)
            before, resumed = 0, False
        try:
            _request(url, file, part, before, timeout, progress)
        except _Interruption as error:
            failures = 1 if size_of(part) - before >= PROGRESS else failures + 1
            if failures >= attempts:
                raise FetchError(f'{error} ({attempts} attempts)') from error
            wait = min(30.0, BACKOFF * 2 ** (failures - 1))
            _log.info('%s: %s; retrying in %.1f s', file.name, error, wait)
            time.sleep(wait)


def _request(url, file, part, have, timeout, progress):
    """Append to the partial file what a server sends from the byte ``have`` on."""
    headers = {'Accept-Encoding': 'identity', 'User-Agent': f'centernet/{__version__}'}
    if have:
        headers['Range'] = f'bytes={have}-'
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=timeout)
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _Interruption(_reason(error, timeout)) from error
    with response:
        start = _check_response(response, file, have, part)
        with writing(part), open(part, 'ab' if start else 'wb') as output, tqdm(
            total=file.size,
            initial=start,
            unit='B',
            unit_scale=True,
            desc=file.name,
            disable=None if progress else True,
            file=sys.stderr,
            dynamic_ncols=True,
        ) as bar:
            for block in _blocks(response, timeout):
                output.write(block)
                bar.update(len(block))
                if output.tell() > file.size:  # without a Content-Length it might never end
                    return
    if size_of(part) < file.size:
        raise _Interruption(f'the connection ended after {size_of(part)} of {file.size} bytes')


def _check_response(response, file, have, part):
    """Return the position in the file at which the response begins."""
    status, headers = response.status_code, response.headers
    said = f'HTTP {status} {response.reason or ""}'.rstrip()
    if status in _TEMPORARY_STATUSES:
        raise _Interruption(said)
    content_range = headers.get('Content-Range', '')
    if have and (status == 416 or (status == 206 and not content_range.startswith(f'bytes {have}-'))):
        remove_file(part)
        raise _Interruption(f'the server does not send the rest of the file (HTTP {status})')
    if status not in (200, 206):
        raise FetchError(said)
    if headers.get('Content-Type', '').lower().startswith(('text/html', 'application/xhtml')):
        raise FetchError('a web page instead of the file: a quota is used up, or a proxy wants a login')
    size = content_range.rpartition('/')[2] if status == 206 else headers.get('Content-Length', '')
    if size.isdigit() and size != str(file.size):
        raise FetchError(f'the file has {size} bytes, expected {file.size}')
    return have if status == 206 else 0


def _blocks(response, timeout):
    """The body; a connection that breaks or stalls is an _Interruption."""
    try:
        for block in response.iter_content(_BLOCK):
            yield block
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _Interruption(_reason(error, timeout)) from error


def _reason(error, timeout):
    """An error in a few words."""
    if 'CERTIFICATE_VERIFY_FAILED' in str(error):
        return 'the certificate is not trusted; set REQUESTS_CA_BUNDLE to the file of the authority'
    if isinstance(error, requests.Timeout) or 'timed out' in str(error):
        return f'no data for {timeout:g} s'
    prefix = 'the proxy failed: ' if isinstance(error, requests.exceptions.ProxyError) else ''
    return prefix + _cause(error)


def _cause(error):
    """The innermost message; those around it repeat it, with the names of classes."""
    while True:
        inner = error.__cause__ or error.__context__ or getattr(error, 'reason', None)
        if isinstance(error, FetchError) or not isinstance(inner, BaseException):
            return str(error) or type(error).__name__
        error = inner
