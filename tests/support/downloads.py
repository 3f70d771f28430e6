"""What the tests of downloads share."""

import os
import random

import pytest

from centernet.fetch.download import download
from centernet.system.errors import FetchError

CONTENT = random.Random(6).getrandbits(8 * 300001).to_bytes(300001, 'big')


def get(file, path, timeout=0.5, attempts=3):
    """Download and compare with CONTENT; return the URL that it came from."""
    source = download(file, path, timeout, attempts, progress=False)
    with open(path, 'rb') as stream:
        assert stream.read() == CONTENT
    assert os.listdir(os.path.dirname(path)) == ['file.bin']
    return source


def refused(file, path, timeout=0.5, attempts=3):
    """Fail to download; return the message."""
    with pytest.raises(FetchError) as caught:
        download(file, path, timeout, attempts, progress=False)
    assert not os.path.exists(path)
    return str(caught.value)
