"""Boxes and labels: nothing leaves the picture, nothing hides another label."""

import numpy as np
import pytest

from centernet.drawing import Box, annotate, boxes, class_colour
from centernet.drawing.text import find_font

NAMES = ['person', 'traffic light', 'Fußgänger', 'a class name that is far longer than a picture']


def random_boxes(count, width, height, seed=0):
    generator = np.random.RandomState(seed)
    corners = np.sort(generator.rand(count, 2, 2) * 1.4 - 0.2, axis=1) * [width, height]
    return [
        Box(corner.reshape(4), int(index), f' {score:.2f}', bool(dashed))
        for corner, index, score, dashed in zip(
            corners,
            generator.randint(0, len(NAMES), count),
            generator.rand(count),
            generator.rand(count) < 0.2,
        )
    ]


def places(found, size):
    """The labels' areas, None for boxes without one."""
    font_size, _ = boxes.sizes(size)
    areas = [boxes._area(box.corners, 1, size) for box in found]
    texts = [NAMES[box.class_index] + box.suffix for box in found]
    labels = boxes.place_labels(texts, areas, size, find_font(font_size), font_size // 5)
    return [label and label[0] for label in labels]


@pytest.mark.parametrize('size', [(480, 480), (640, 480), (900, 50), (50, 900), (3000, 2000)])
@pytest.mark.parametrize('count', [1, 30, 100])
def test_labels_neither_hide_each_other_nor_leave_the_picture(size, count):
    found = [place for place in places(random_boxes(count, *size), size) if place]
    assert len(found) == count or count > 1 or size[0] < 100, 'there is room for one'
    for number, (left, top, right, bottom) in enumerate(found):
        assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
        for other in found[:number]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_neighbours_all_get_a_label():
    found = [Box([100 + 4 * i, 100 + 3 * i, 300 + 4 * i, 250 + 3 * i], i % 2, f' {i}') for i in range(8)]
    assert None not in places(found, (640, 480))


def test_the_first_box_chooses_first():
    one = Box([200, 200, 300, 300], 0)
    (alone,) = places([one], (640, 480))
    assert places([one, *random_boxes(50, 640, 480)], (640, 480))[0] == alone
    assert alone[3] == 200 and alone[0] == 200, 'above the upper left corner'


def test_a_picture_keeps_its_size_unless_it_is_small():
    for (height, width), expected in (
        ((480, 640), (480, 640)),
        ((3000, 4000), (3000, 4000)),
        ((75, 100), (375, 500)),
        ((1, 1), (480, 480)),
    ):
        image = np.full((height, width, 3), 90, np.uint8)
        picture = annotate(image, [Box([0, 0, width, height], 0, ' 0.50')], NAMES)
        assert picture.shape == (*expected, 3) and picture.dtype == np.uint8
        assert (image == 90).all(), 'the original is left alone'


def test_the_outline_has_the_colour_of_its_class():
    picture = annotate(np.full((480, 640, 3), 60, np.uint8), [Box([100, 100, 300, 200], 1)], NAMES)
    for x, y in ((100, 150), (300, 150), (250, 100), (200, 200)):
        assert tuple(picture[y, x, ::-1]) == class_colour(1)
    assert (picture[300:] == 60).all()


def test_fonts_grow_with_the_picture():
    heights = [
        boxes.sizes(size)[0] for size in ((480, 360), (640, 480), (1920, 1080), (4000, 3000), (9000, 9000))
    ]
    assert heights == sorted(heights) and heights[0] == 12 and heights[-1] == 72 and heights[3] > 60
