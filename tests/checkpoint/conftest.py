import pytest
import torch

import centernet.checkpoint.reader as reader_module
from centernet.compat import HAS_WEIGHTS_ONLY


@pytest.fixture(params=['weights_only', 'restricted'])
def reader(request, monkeypatch):
    """The test runs with torch's reader first, where it has one, and with this package's alone."""
    if request.param == 'weights_only' and not HAS_WEIGHTS_ONLY:
        pytest.skip(f'torch {torch.__version__} has no weights_only')
    monkeypatch.setattr(reader_module, 'HAS_WEIGHTS_ONLY', request.param == 'weights_only')
    return request.param
