import numpy as np
import pytest

from centernet.coco import GroundTruth
from centernet.drawing import class_colour, draw_panels

NAMES = ['person', 'traffic light', 'a class name that is far longer than any picture of it could be wide']
NOTHING = GroundTruth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))
TITLE = 28


def truth(*rows):
    """Ground truth from rows of x1, y1, x2, y2, class index, crowd."""
    rows = np.array(rows, np.float32).reshape(-1, 6)
    return GroundTruth(rows[:, :4], rows[:, 4].astype(np.int64), rows[:, 5].astype(bool))


def of_class(picture, index):
    """Where a picture has exactly a class's colour."""
    return (picture[:, :, ::-1] == np.array(class_colour(index), np.uint8)).all(axis=2)


def halves(picture, wide=False):
    """The two panels, without the strip between them."""
    size = picture.shape[0 if wide else 1]
    side = (size - 6) // 2
    return (picture[:side], picture[side + 6 :]) if wide else (picture[:, :side], picture[:, side + 6 :])


def test_detections_left_and_ground_truth_right():
    image = np.full((480, 640, 3), 60, np.uint8)
    before = image.copy()
    detections = np.array([[100, 100, 300, 200, 0.9, 0], [50, 250, 200, 400, 0.29, 1]], np.float32)
    picture = draw_panels(image, detections, truth([400, 50, 500, 300, 1, 0]), NAMES)
    left, right = halves(picture)
    assert picture.dtype == np.uint8 and left.shape == right.shape == (480 + TITLE, 640, 3)
    assert of_class(left, 0).sum() > 500 and of_class(left, 1).sum() == 0  # the weak one is not shown
    assert of_class(right, 1).sum() > 500 and of_class(right, 0).sum() == 0
    for x, y in ((100, 150), (300, 150), (200, 200)):  # the box's sides, below the title
        assert of_class(left, 0)[TITLE + y, x]
    assert np.array_equal(image, before)


def test_a_crowd_is_dashed():
    image = np.full((480, 640, 3), 60, np.uint8)
    picture = draw_panels(image, np.zeros((0, 6)), truth([100, 100, 500, 300, 1, 1]), NAMES)
    side = of_class(halves(picture)[1], 1)[TITLE + 300, 100:500]
    assert 0.4 < side.mean() < 0.8


@pytest.mark.parametrize(
    'height, width', [(1, 1), (20, 100), (100, 100), (480, 640), (50, 900), (900, 50), (2000, 3000)]
)
def test_images_of_any_size(height, width):
    generator = np.random.RandomState(height + width)
    corners = np.sort(generator.rand(60, 2, 2) * 1.4 - 0.2, axis=1) * [width, height]  # some reach outside
    classes = generator.randint(0, len(NAMES), (60, 1))
    detections = np.concatenate([corners.reshape(60, 4), generator.rand(60, 1), classes], axis=1)
    objects = truth(*np.concatenate([corners.reshape(60, 4), classes, classes == 1], axis=1)[:20])
    picture = draw_panels(
        np.full((height, width, 3), 90, np.uint8), detections, objects, NAMES, threshold=1 / 3
    )
    first, second = halves(picture, width > 1.8 * height)
    assert first.shape == second.shape
    assert 480 <= max(first.shape[0] - TITLE, first.shape[1]) <= 960


def test_nothing_found_nothing_there():
    image = np.random.RandomState(0).randint(0, 256, (480, 640, 3)).astype(np.uint8)
    left, right = halves(draw_panels(image, np.zeros((0, 6), np.float32), NOTHING, NAMES))
    assert np.array_equal(left[TITLE:], image) and np.array_equal(right[TITLE:], image)
    assert not np.array_equal(left[:TITLE], right[:TITLE])
