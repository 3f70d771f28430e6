import hashlib

import pytest
from support import file_server

from centernet.fetch.catalog import RemoteFile


@pytest.fixture(autouse=True)
def without_proxy(monkeypatch):
    for name in (
        'HTTP_PROXY',
        'HTTPS_PROXY',
        'ALL_PROXY',
        'NO_PROXY',
        'REQUESTS_CA_BUNDLE',
        'CURL_CA_BUNDLE',
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr('centernet.fetch.download.BACKOFF', 0.01)


@pytest.fixture
def server():
    with file_server.running() as found:
        yield found


@pytest.fixture
def served(server):
    """Put content on the server under these names, and return the RemoteFile with their URLs."""

    def make(content, *paths):
        for path in paths:
            server.files.setdefault('/' + path, content)
        urls = tuple(server.address + '/' + path for path in paths)
        return RemoteFile('file.bin', 'weights', len(content), hashlib.sha256(content).hexdigest(), urls)

    return make


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'file.bin')
