"""Truncated and bit-flipped pictures: what is noticed is named, counted, and decides the exit status."""

import json
import random

import cv2
import numpy as np
import pytest
from support.painted import PaintRunner, write_data

from centernet.coco import CocoData, read_image, read_image_checked
from centernet.detection import InputSpec
from centernet.errors import DataError
from centernet.evaluation import EvalOptions, evaluate

OPTIONS = EvalOptions(input=InputSpec(height=64, width=64), batch_size=4)


def encoded(suffix, quality=90):
    coarse = np.random.RandomState(0).randint(0, 256, (15, 20, 3)).astype(np.uint8)
    picture = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def flipped(data, at, bit=0):
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


def complaint(tmp_path, data, suffix='.jpg'):
    """What is said of a picture: a DataError's text, a decoder's complaint, or None."""
    (tmp_path / ('a' + suffix)).write_bytes(data)
    try:
        return read_image_checked(str(tmp_path / ('a' + suffix)))[1]
    except DataError as error:
        return str(error)


@pytest.fixture(scope='module')
def noticed_flip():
    """A JPEG with one flipped bit of its coded pixels that its decoder notices."""
    data = encoded('.jpg')
    scan = data.index(b'\xff\xda') + 14
    draw = random.Random(1)
    for _ in range(200):
        changed = flipped(data, draw.randrange(scan, len(data) - 2), draw.randrange(8))
        capture = cv2.imdecode(np.frombuffer(changed, np.uint8), 1)
        if capture is not None and changed[-2:] == b'\xff\xd9' and _has_complaint(changed):
            return changed
    raise AssertionError('the decoder complains of nothing')


def _has_complaint(data):
    import os
    import tempfile

    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            cv2.imdecode(np.frombuffer(data, np.uint8), 1)
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        return file.tell() > 0 or os.fstat(file.fileno()).st_size > 0


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('policy, status', [('fail', 1), ('skip', 0)])
def test_in_a_run(tmp_path, noticed_flip, policy, status, workers):
    root = write_data(tmp_path / 'data')
    pictures = root / 'val2017'
    whole = (pictures / '003.png').read_bytes()
    (pictures / '003.png').write_bytes(flipped(whole, len(whole) // 2))
    (pictures / '005.png').write_bytes(encoded('.jpg')[:-400])
    (pictures / '007.png').write_bytes(noticed_flip)
    found = evaluate(
        PaintRunner(),
        CocoData.load(str(root)),
        OPTIONS._replace(on_bad_image=policy, workers=workers),
        str(tmp_path / 'out'),
        progress=False,
    )
    assert sorted(found.failed) == [109, 115]
    assert '003.png' in found.failed[109] and 'truncated' in found.failed[115]
    assert list(found.damaged) == [121]
    assert '007.png' in found.damaged[121] and 'Corrupt JPEG data' in found.damaged[121]
    assert found.exit_status == status
    document = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert (document['images'], list(document['damaged_images'])) == (10, ['121'])
    # it is remembered: a resumed run that evaluates nothing anew still says so
    again = evaluate(
        PaintRunner(),
        CocoData.load(str(root)),
        OPTIONS._replace(on_bad_image=policy, workers=workers),
        str(tmp_path / 'out'),
        resume=True,
        progress=False,
    )
    assert again.damaged == found.damaged
    assert again.exit_status == status


def test_a_damaged_picture_alone_decides_the_exit_status(tmp_path, noticed_flip):
    root = write_data(tmp_path / 'data')
    (root / 'val2017' / '007.png').write_bytes(noticed_flip)
    data = CocoData.load(str(root))
    assert evaluate(PaintRunner(), data, OPTIONS, str(tmp_path / 'out'), progress=False).exit_status == 1


def test_every_truncated_jpeg_is_refused(tmp_path):
    data = encoded('.jpg')
    for length in range(3, len(data) - 1, 97):
        assert complaint(tmp_path, data[:length]), length


def test_every_flipped_bit_of_a_png_is_noticed_or_does_not_matter(tmp_path):
    data = encoded('.png')
    whole = cv2.imdecode(np.frombuffer(data, np.uint8), 1)
    draw = random.Random(2)
    for _ in range(100):
        at = draw.randrange(len(data))
        if not complaint(tmp_path, flipped(data, at, draw.randrange(8)), '.png'):
            assert np.array_equal(read_image(str(tmp_path / 'a.png')), whole), at


def test_of_flipped_bits_in_a_jpeg_one_in_five_is_noticed(tmp_path):
    """A JPEG has no checksum; docs/faults.md says so, with this share."""
    data, draw = encoded('.jpg'), random.Random(3)
    scan = data.index(b'\xff\xda') + 14
    found = sum(
        bool(complaint(tmp_path, flipped(data, draw.randrange(scan, len(data) - 2), draw.randrange(8))))
        for _ in range(200)
    )
    assert 10 < found < 100


def test_other_texts_pass_on_to_stderr(tmp_path, capfd, noticed_flip):
    (tmp_path / 'a.jpg').write_bytes(noticed_flip)
    assert read_image_checked(str(tmp_path / 'a.jpg'))[1]
    import os

    os.write(2, b'something else\n')
    assert capfd.readouterr()[1] == 'something else\n'


def test_a_pipe_and_a_device_are_no_pictures(tmp_path):
    import os

    os.mkfifo(str(tmp_path / 'pipe.jpg'))
    for path in (tmp_path / 'pipe.jpg', '/dev/zero'):
        with pytest.raises(DataError, match='it is no file'):
            read_image(str(path))
