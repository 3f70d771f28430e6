"""What all tests share: how hypothesis searches, and that Ctrl-C works."""

import os
import signal

import pytest
from hypothesis import settings

# A shared machine may be slow at any moment, so no example has a deadline. In CI the same examples are tried
# in every run.
settings.register_profile('centernet', deadline=None, derandomize=bool(os.environ.get('CI')), print_blob=True)
settings.load_profile('centernet')

# Defaults of options, and the mark of the image, in which the tests run as well.
for name in ('WEIGHTS', 'DATA', 'DEVICE', 'CENTERNET_CONTAINER'):
    os.environ.pop(name, None)

# Where this was started with Ctrl-C ignored (nohup, &), every program that a test starts would ignore it too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def data_folder(tmp_path):
    """A folder of twelve painted pictures of three sizes, in COCO's layout."""
    from support.painted import write_data

    return write_data(tmp_path / 'data')


@pytest.fixture
def data(data_folder):
    from centernet.coco import CocoData

    return CocoData.load(str(data_folder))
