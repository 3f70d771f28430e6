"""An annotations file with 200,000 images."""

import json
import os
import subprocess
import sys

import pytest
from support.processes import HANG_S, SOURCE

IMAGES, OBJECTS = 200000, 7
#: bytes of memory per byte of the file; measured: 2 with Python 3.11; with few polygons it would be up to 10
MULTIPLE = 10

CHILD = """
import json, resource, sys, time
from centernet.coco import CocoData
start, before = time.time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = CocoData.load(annotations=sys.argv[1], images=sys.argv[2])
print(json.dumps([len(data.image_ids), len(data.objects.ids), time.time() - start,
                  (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10]))
"""


@pytest.fixture(scope='module')
def annotations(tmp_path_factory):
    """A file like COCO's own: about 7 objects per image, with polygons."""
    path = tmp_path_factory.mktemp('many') / 'instances_val2017.json'
    polygon = json.dumps([[round(17.37 * i % 640, 2) for i in range(40)]])
    with open(str(path), 'w') as file:
        file.write('{"images": [')
        file.write(
            ', '.join(
                f'{{"license": 4, "file_name": "{7 * i:012d}.jpg", "height": 427, "width": 640,'
                f' "date_captured": "2013-11-14 17:02:52", "id": {7 * i}}}'
                for i in range(IMAGES)
            )
        )
        file.write('], "annotations": [')
        for i in range(IMAGES):
            file.write(
                (', ' if i else '')
                + ', '.join(
                    f'{{"segmentation": {polygon}, "area": 702.1, "iscrowd": 0, "image_id": {7 * i}, "bbox":'
                    f' [473.07, {k}.87, 38.65, 28.67], "category_id": {1 + (i + k) % 80}, "id":'
                    f' {OBJECTS * i + k}}}'
                    for k in range(OBJECTS)
                )
            )
        file.write('], "categories": [')
        file.write(', '.join('{{"id": {0}, "name": "class {0}"}}'.format(i + 1) for i in range(80)) + ']}')
    (path.parent / '000000000000.jpg').write_bytes(b'')
    return path


@pytest.mark.slow
def test_it_is_read_within_a_multiple_of_its_size(annotations):
    run = subprocess.run(
        [sys.executable, '-c', CHILD, str(annotations), str(annotations.parent)],
        stdout=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=SOURCE),
        timeout=3 * HANG_S,
    )
    assert run.returncode == 0
    images, objects, seconds, grown = json.loads(run.stdout.decode())
    size = annotations.stat().st_size
    print(
        f'{size / 1e6:.0f} MB with {images} images, {objects} objects: read in {seconds:.1f} s,'
        f' {grown / 1e6:.0f} MB of memory, {grown / size:.1f} per byte'
    )
    assert (images, objects) == (IMAGES, IMAGES * OBJECTS)
    assert grown < MULTIPLE * size
