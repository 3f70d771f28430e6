import hashlib

import pytest
from support import file_server

from centernet.fetch import Item


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ('HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'NO_PROXY', 'REQUESTS_CA_BUNDLE'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server():
    with file_server.running() as found:
        yield found


@pytest.fixture
def served(server):
    """Put content on the server under these names, and return the Item that has them as its mirrors."""

    def make(content, *paths, group='weights', name='file.bin', unpack=None):
        for path in paths:
            server.files.setdefault('/' + path, content)
        return Item(
            name,
            group,
            len(content),
            hashlib.sha256(content).hexdigest(),
            tuple(server.address + '/' + path for path in paths),
            unpack,
        )

    return make


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'file.bin')
