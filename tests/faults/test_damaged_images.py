"""Truncated and damaged images: named and omitted if they cannot be decoded, evaluated otherwise."""

import json
import os
import random

import cv2
import numpy as np
import pytest
from support.painted import write_data
from support.runs import run

from centernet.coco import CocoData, read_image
from centernet.system.errors import DataError


def encoded(suffix):
    coarse = np.random.RandomState(0).randint(0, 256, (15, 20, 3)).astype(np.uint8)
    picture = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def with_flipped_bit(data, at, bit=0):
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


def decodes(path, data):
    path.write_bytes(data)
    try:
        return read_image(str(path)) is not None
    except DataError:
        return False


@pytest.mark.parametrize('workers, policy, status', [(0, 'fail', 1), (1, 'skip', 0)])
def test_undecodable_images_are_named_and_decide_the_exit_status(tmp_path, workers, policy, status):
    root = write_data(tmp_path / 'data')
    pictures = root / 'val2017'
    whole = (pictures / '003.png').read_bytes()
    (pictures / '003.png').write_bytes(with_flipped_bit(whole, len(whole) // 2))
    (pictures / '005.png').write_bytes(encoded('.jpg')[:-400])
    data = CocoData.load(str(root))
    found = run(data, tmp_path / 'out', batch_size=4, on_bad_image=policy, workers=workers)
    assert sorted(found.failed) == [109, 115]
    assert '003.png' in found.failed[109]
    assert '005.png' in found.failed[115] and 'truncated' in found.failed[115]
    assert found.exit_status == status
    assert json.loads((tmp_path / 'out' / 'metrics.json').read_text())['images'] == 10


def test_an_image_that_libjpeg_complains_about_is_evaluated(tmp_path, capfd):
    data, draw = encoded('.jpg'), random.Random(1)
    start = data.index(b'\xff\xda') + 14  # of the coded pixels
    root = write_data(tmp_path / 'data')
    path = root / 'val2017' / '007.png'
    for _ in range(200):
        changed = with_flipped_bit(data, draw.randrange(start, len(data) - 2), draw.randrange(8))
        path.write_bytes(changed)
        capfd.readouterr()
        expected = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if expected is not None and 'Corrupt JPEG data' in capfd.readouterr().err:
            break
    else:
        raise AssertionError('libjpeg complains about none of 200 flipped bits')
    assert np.array_equal(read_image(str(path)), expected)
    found = run(CocoData.load(str(root)), tmp_path / 'out', batch_size=4)
    assert (found.exit_status, found.failed, found.document['images']) == (0, {}, 12)


def test_every_truncated_jpeg_is_refused(tmp_path):
    data = encoded('.jpg')
    for length in range(3, len(data) - 1, 97):
        assert not decodes(tmp_path / 'a.jpg', data[:length]), length


def test_every_flipped_bit_of_a_png_is_noticed_or_has_no_effect(tmp_path):
    data = encoded('.png')
    whole = cv2.imdecode(np.frombuffer(data, np.uint8), 1)
    draw = random.Random(2)
    for _ in range(100):
        at = draw.randrange(len(data))
        if decodes(tmp_path / 'a.png', with_flipped_bit(data, at, draw.randrange(8))):
            assert np.array_equal(read_image(str(tmp_path / 'a.png')), whole), at


def test_pipes_and_devices_are_refused(tmp_path):
    os.mkfifo(str(tmp_path / 'pipe.jpg'))
    for path in (tmp_path / 'pipe.jpg', '/dev/zero'):
        with pytest.raises(DataError, match='not a regular file'):
            read_image(str(path))
