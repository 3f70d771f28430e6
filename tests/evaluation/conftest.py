import pytest
from painted import write_data

from centernet.coco import CocoData


@pytest.fixture
def data_folder(tmp_path):
    """A folder of twelve painted pictures of three sizes, in COCO's layout."""
    return write_data(tmp_path / 'data')


@pytest.fixture
def data(data_folder):
    return CocoData.load(str(data_folder))
