import cv2
import numpy as np
import pytest

from centernet.coco import GroundTruth
from centernet.errors import OutputError
from centernet.evaluation import drawing
from centernet.evaluation.drawing import ascii_name, class_colour, draw, save_png

NAMES = [
    'person',
    'traffic light',
    '猫',
    'a class name that is far longer than any picture of it could be wide',
]
NOTHING = GroundTruth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))


def truth(*rows):
    """Ground truth from rows of x1, y1, x2, y2, class index, crowd."""
    rows = np.array(rows, np.float32).reshape(-1, 6)
    return GroundTruth(rows[:, :4], rows[:, 4].astype(np.int64), rows[:, 5].astype(bool))


def has(picture, index):
    """How many pixels have exactly a class's colour."""
    return int((picture == np.array(class_colour(index), np.uint8)).all(axis=2).sum())


def halves(picture, wide=False):
    """The two panels, without the strip between them."""
    size = picture.shape[0 if wide else 1]
    side = (size - 6) // 2
    return (picture[:side], picture[side + 6 :]) if wide else (picture[:, :side], picture[:, side + 6 :])


@pytest.fixture
def texts(monkeypatch):
    """What is written into the pictures: (text, its box, the canvas' width and height)."""
    written = []
    put = cv2.putText

    def record(canvas, text, origin, font, scale, *more):
        (width, height), below = cv2.getTextSize(text, font, scale, 1)
        box = origin[0], origin[1] - height, origin[0] + width, origin[1] + below
        written.append((text, box, (canvas.shape[1], canvas.shape[0])))
        return put(canvas, text, origin, font, scale, *more)

    monkeypatch.setattr(drawing.cv2, 'putText', record)
    return written


def test_detections_left_and_ground_truth_right(texts):
    image = np.full((480, 640, 3), 60, np.uint8)
    before = image.copy()
    detections = np.array([[100, 100, 300, 200, 0.9, 0], [50, 250, 200, 400, 0.29, 1]], np.float32)
    picture = draw(image, detections, truth([400, 50, 500, 300, 1, 0]), NAMES)
    left, right = halves(picture)
    assert picture.dtype == np.uint8 and left.shape == right.shape == (508, 640, 3)
    assert has(left, 0) > 500 and has(left, 1) == 0  # the weak one is not shown
    assert has(right, 1) > 500 and has(right, 0) == 0
    for x, y in ((100, 150), (300, 150), (200, 200)):  # the box's sides, below the title
        assert tuple(left[28 + y, x]) == class_colour(0)
    assert np.array_equal(image, before)
    assert {text for text, _, _ in texts} == {
        'person 0.90',
        'traffic light',
        'detections: 1 (score >= 0.3)',
        'ground truth: 1',
    }


def test_a_crowd_is_dashed_and_named(texts):
    picture = draw(
        np.full((480, 640, 3), 60, np.uint8), np.zeros((0, 6)), truth([100, 100, 500, 300, 1, 1]), NAMES
    )
    side = halves(picture)[1][28 + 300, 100:500]
    coloured = (side == np.array(class_colour(1), np.uint8)).all(axis=1).mean()
    assert 0.4 < coloured < 0.8
    assert 'traffic light (crowd)' in [text for text, _, _ in texts]


@pytest.mark.parametrize(
    'height, width', [(1, 1), (20, 100), (100, 100), (480, 640), (50, 900), (900, 50), (2000, 3000)]
)
def test_text_is_never_cut_off(texts, height, width):
    generator = np.random.RandomState(height + width)
    corners = (generator.rand(60, 4) * 1.4 - 0.2) * [width, height, width, height]  # some reach far outside
    corners = np.concatenate(
        [np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], axis=1
    )
    classes = generator.randint(0, len(NAMES), (60, 1))
    detections = np.concatenate([corners, generator.rand(60, 1), classes], axis=1)
    objects = truth(*np.concatenate([corners, classes, generator.rand(60, 1) < 0.3], axis=1)[:20])
    picture = draw(np.full((height, width, 3), 90, np.uint8), detections, objects, NAMES, threshold=1 / 3)
    wide = width > 1.8 * height
    first, second = halves(picture, wide)
    assert first.shape == second.shape
    assert 320 <= max(first.shape[:2]) <= 800 + 28
    assert len(texts) == 2 + 20 + (detections[:, 4] >= 1 / 3).sum()
    for text, (left, top, right, bottom), (limit_x, limit_y) in texts:
        assert 0 <= left and right <= limit_x and 0 <= top and bottom <= limit_y, text
        assert all(' ' <= letter <= '~' for letter in text)
    assert any('... 0.' in text for text, _, _ in texts)  # the long name is shortened, its score is not


def test_nothing_found_nothing_there(texts):
    image = np.random.RandomState(0).randint(0, 256, (480, 640, 3)).astype(np.uint8)
    left, right = halves(draw(image, np.zeros((0, 6), np.float32), NOTHING, NAMES))
    assert np.array_equal(left[28:], image) and np.array_equal(right[28:], image)
    assert [text for text, _, _ in texts] == ['detections: 0 (score >= 0.3)', 'ground truth: 0']


def test_labels_of_neighbours_do_not_hide_each_other(texts):
    detections = np.array(
        [[100 + 4 * i, 100 + 3 * i, 300 + 4 * i, 250 + 3 * i, 0.9 - i / 10, i % 2] for i in range(5)]
    )
    draw(np.full((480, 640, 3), 60, np.uint8), detections, NOTHING, NAMES)
    boxes = [box for text, box, _ in texts if '0.' in text and 'detections' not in text]
    assert len(boxes) == 5
    for i, one in enumerate(boxes):
        for other in boxes[:i]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_colours_are_stable_and_differ():
    assert class_colour(3) == class_colour(3)
    assert len({class_colour(index) for index in range(80)}) == 80
    for index in range(79):
        assert np.abs(np.subtract(class_colour(index), class_colour(index + 1))).sum() > 100


@pytest.mark.parametrize(
    'name, expected',
    [
        ('dining table', 'dining table'),
        ('Müller', 'Muller'),
        ('café\n', 'cafe'),
        ('猫', 'class 7'),
        ('', 'class 7'),
        ('猫 A', '? A'),
        ('a\tb', 'a b'),
        ('ﬁsh', 'fish'),
    ],
)
def test_names_in_ascii(name, expected):
    assert ascii_name(name, 7) == expected


def test_saves_a_png(tmp_path):
    picture = draw(np.full((30, 40, 3), 60, np.uint8), np.zeros((0, 6)), NOTHING, NAMES)
    save_png(str(tmp_path / 'a.png'), picture)
    assert np.array_equal(cv2.imread(str(tmp_path / 'a.png')), picture)
    assert [path.name for path in tmp_path.iterdir()] == ['a.png']
    with pytest.raises(OutputError, match='cannot write'):
        save_png(str(tmp_path / 'none' / 'a.png'), picture)
