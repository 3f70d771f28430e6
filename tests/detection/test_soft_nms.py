"""soft_nms: against a simple row-by-row routine, on worked examples, and by its properties."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet.detection import soft_nms


def iou(one, two):
    """Return the IoU of closed pixel ranges: a box from 0 to 9 is 10 wide."""
    width = min(one[2], two[2]) - max(one[0], two[0]) + 1
    height = min(one[3], two[3]) - max(one[1], two[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    area = sum((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (one, two))
    return width * height / (area - width * height)


def row_by_row(boxes, scores, sigma=0.5, threshold=0.001):
    """Return the expected list of [box number, score], made by moving one row at a time."""
    rows = [[number, float(score)] for number, score in enumerate(scores)]
    alive = len(rows)
    for place in range(len(rows)):
        if place >= alive:
            break
        best = max(range(place, alive), key=lambda at: (rows[at][1], -at))
        rows[place], rows[best] = rows[best], rows[place]
        at = place + 1
        while at < alive:
            overlap = iou(boxes[rows[place][0]], boxes[rows[at][0]])
            if overlap > 0:
                rows[at][1] *= math.exp(-(overlap**2) / sigma)
                if rows[at][1] < threshold:
                    alive -= 1
                    rows[at] = list(rows[alive]) if at != alive else rows[at]
                    continue
            at += 1
    return rows, alive


def crowd(seed, count, spread):
    """Return random boxes with steeply decreasing scores: many overlap, many are discarded."""
    random = np.random.RandomState(seed)
    centres = random.rand(count, 2) * spread
    sizes = random.rand(count, 2) * 40 + 5
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1).astype(np.float32)
    return boxes, (random.rand(count) ** 6).astype(np.float32)


@pytest.mark.parametrize('spread', [1, 30, 100, 400])
def test_the_array_is_that_of_the_row_by_row_routine(spread):
    discarded = 0
    for seed in range(40):
        boxes, scores = crowd(seed, 1 + seed * 3, spread)
        index, decayed = soft_nms(boxes, scores)
        expected, alive = row_by_row(boxes.tolist(), scores)
        discarded += len(boxes) - alive
        assert index.tolist() == [number for number, _ in expected]
        assert decayed.tolist() == pytest.approx([score for _, score in expected], abs=1e-6)
    assert discarded > 100


def test_duplicates_are_handled_alike():
    # Identical rows, as several scales may give: ties in every pick.
    boxes, scores = crowd(3, 20, 60)
    boxes, scores = np.repeat(boxes, 4, axis=0), np.repeat(scores, 4)
    index, decayed = soft_nms(boxes, scores)
    expected, _ = row_by_row(boxes.tolist(), scores)
    assert boxes[index].tolist() == [boxes[number].tolist() for number, _ in expected]
    assert decayed.tolist() == pytest.approx([score for _, score in expected], abs=1e-6)


def test_the_score_decays_with_the_square_of_the_overlap():
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 4], [100, 100, 120, 120]], dtype=np.float32)
    index, scores = soft_nms(boxes, np.array([0.9, 0.8, 0.7], dtype=np.float32))
    # The second overlaps the first by a half: 50 of 100 pixels; so it is picked last.
    assert index.tolist() == [0, 2, 1]
    assert scores.tolist() == pytest.approx([0.9, 0.7, 0.8 * math.exp(-0.5)], abs=1e-6)
    assert scores.dtype == np.float32


def test_a_discarded_box_leaves_a_copy_of_the_row_that_replaced_it():
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 9], [100, 100, 120, 120]], dtype=np.float32)
    index, scores = soft_nms(boxes, np.array([0.9, 0.002, 0.5], dtype=np.float32))
    assert index.tolist() == [0, 2, 2]
    assert scores.tolist() == pytest.approx([0.9, 0.5, 0.5], abs=1e-6)


def test_a_last_box_that_is_discarded_keeps_its_decayed_score():
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 9]], dtype=np.float32)
    index, scores = soft_nms(boxes, np.array([0.9, 0.002], dtype=np.float32))
    assert index.tolist() == [0, 1]
    assert scores.tolist() == pytest.approx([0.9, 0.002 * math.exp(-2)], abs=1e-6)


def test_low_scores_are_discarded_only_by_an_overlap():
    boxes = np.array([[0, 0, 9, 9], [50, 50, 59, 59], [80, 80, 89, 89]], dtype=np.float32)
    index, scores = soft_nms(boxes, np.array([0.9, 0.0001, 0.0002], dtype=np.float32))
    assert index.tolist() == [0, 2, 1]
    assert scores.tolist() == pytest.approx([0.9, 0.0002, 0.0001], abs=1e-7)


@pytest.mark.parametrize('count', [0, 1])
def test_nothing_to_suppress(count):
    boxes, scores = crowd(0, count, 10)
    index, decayed = soft_nms(boxes, scores)
    assert index.tolist() == list(range(count)) and decayed.tolist() == scores.tolist()


def test_inputs_are_not_changed():
    boxes, scores = crowd(1, 30, 20)
    before = boxes.copy(), scores.copy()
    soft_nms(boxes, scores)
    assert np.array_equal(boxes, before[0]) and np.array_equal(scores, before[1])


coordinates = st.integers(0, 60)
rows = st.lists(
    st.tuples(coordinates, coordinates, st.integers(0, 40), st.integers(0, 40), st.integers(0, 1000)),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(rows)
def test_scores_never_rise_and_the_best_box_stays(drawn):
    boxes = np.array(
        [[x, y, x + width, y + height] for x, y, width, height, _ in drawn], dtype=np.float32
    ).reshape(-1, 4)
    scores = np.array([row[4] / 1000 for row in drawn], dtype=np.float32)
    index, decayed = soft_nms(boxes, scores)
    assert len(index) == len(boxes)
    assert (decayed <= scores[index]).all() and (decayed >= 0).all()
    if len(scores):
        assert index[0] == scores.argmax() and decayed[0] == scores.max()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 1000), max_size=20))
def test_boxes_apart_are_only_sorted(drawn):
    boxes = np.array([[20 * i, 0, 20 * i + 10, 10] for i in range(len(drawn))], dtype=np.float32).reshape(
        -1, 4
    )
    scores = np.array(drawn, dtype=np.float32) / 1000
    index, decayed = soft_nms(boxes, scores)
    assert sorted(index.tolist()) == list(range(len(drawn)))
    assert decayed.tolist() == sorted(scores.tolist(), reverse=True)
    assert decayed.tolist() == scores[index].tolist()
