"""What the tests of downloads share."""

import os
import random

import pytest

from centernet.errors import FetchError
from centernet.fetch import Policy
from centernet.fetch.download import download

QUICK = Policy(timeout=0.5, attempts=3, first_wait=0.01, longest_wait=0.02)
CONTENT = random.Random(6).getrandbits(8 * 300001).to_bytes(300001, 'big')
QUOTA_PAGE = """<html><head><title>Google Drive - Quota exceeded</title></head><body><p>Sorry, you can't view or download this file at this
time.</p><p>Too many users have viewed or downloaded this file recently. Please try accessing the file again later.</p></body></html>"""


def get(item, path, policy=QUICK):
    source = download(item, path, policy, progress=False)
    with open(path, 'rb') as file:
        assert file.read() == CONTENT
    assert os.listdir(os.path.dirname(path)) == ['file.bin']
    return source


def refused(item, path, policy=QUICK):
    with pytest.raises(FetchError) as caught:
        download(item, path, policy, progress=False)
    assert not os.path.exists(path)
    return str(caught.value)
