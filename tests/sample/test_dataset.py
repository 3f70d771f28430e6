import hashlib
import json
import os

import cv2
import numpy as np
import pytest

from centernet.coco import CocoData
from centernet.sample import sample_folder
from centernet.sample.dataset import ANNOTATIONS
from centernet.sample.scene import CATEGORIES, draw_scene
from centernet.system.errors import OutputError


def document(folder):
    with open(os.path.join(folder, ANNOTATIONS), encoding='utf-8') as file:
        return json.load(file)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return sample_folder(str(tmp_path_factory.mktemp('parent')))


def test_every_machine_draws_the_same_pixels():
    # The parity of the stacks depends on this. After a change of the scenes, increase VERSION and train
    # again.
    digest = hashlib.sha256()
    for index in range(200):
        digest.update(draw_scene([2017, index]).image.tobytes())
    assert digest.hexdigest() == '17675446c198655bd1b0cbb53add7dcb6aa505e2d157bfafe91fd2eb89a2d85a'


def test_pictures_hold_what_was_drawn(folder):
    records = document(folder)['images']
    assert len(records) == 200
    for index in (0, 199):
        path = os.path.join(folder, 'val2017', records[index]['file_name'])
        assert np.array_equal(cv2.imread(path), draw_scene([2017, index]).image)


def test_has_everything_that_coco_has(folder):
    annotations = document(folder)['annotations']
    with_objects = {entry['image_id'] for entry in annotations}
    assert any(record['id'] not in with_objects for record in document(folder)['images']), (
        'no image without an object'
    )
    assert sum(entry['iscrowd'] for entry in annotations) >= 5
    assert {entry['category_id'] for entry in annotations} == {identity for identity, _ in CATEGORIES}
    areas = np.array([entry['area'] for entry in annotations if not entry['iscrowd']])
    assert min((areas < 32**2).sum(), (areas >= 32**2).sum(), 50 * (areas >= 96**2).sum()) >= 100
    data = CocoData.load(folder)
    assert data.categories == [(1, 'circle'), (3, 'rectangle'), (7, 'triangle'), (90, 'ring')]
    assert len(data.image_ids) == 200


def test_boxes_lie_in_the_pictures_and_hold_the_areas(folder):
    records = {record['id']: record for record in document(folder)['images']}
    for entry in document(folder)['annotations']:
        x, y, width, height = entry['bbox']
        record = records[entry['image_id']]
        assert min(x, y) >= 0 and x + width <= record['width'] and y + height <= record['height']
        # a ring covers 0.48 of its box; the edges of small shapes are counted by sixteenths of a pixel
        assert entry['iscrowd'] or 0.3 < entry['area'] / (width * height) < 1.05


def test_is_written_once_and_whole(tmp_path):
    first = sample_folder(str(tmp_path), images=3)
    written = os.stat(os.path.join(first, ANNOTATIONS)).st_mtime_ns
    assert sample_folder(str(tmp_path), images=3) == first
    assert os.stat(os.path.join(first, ANNOTATIONS)).st_mtime_ns == written
    assert os.listdir(str(tmp_path)) == ['sample']
    sample_folder(str(tmp_path), images=4)
    assert len(document(first)['images']) == 4
    assert os.listdir(str(tmp_path)) == ['sample']


def test_does_not_replace_a_foreign_folder(tmp_path):
    (tmp_path / 'sample').mkdir()
    (tmp_path / 'sample' / 'mine.txt').write_text('precious')
    with pytest.raises(OutputError, match='already exists'):
        sample_folder(str(tmp_path))
    assert (tmp_path / 'sample' / 'mine.txt').read_text() == 'precious'
