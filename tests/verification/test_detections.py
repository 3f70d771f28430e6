from types import SimpleNamespace

import numpy as np
import pytest
import torch

from centernet.detection import Heads, InputSpec, decode, preprocess
from centernet.verification import ComparedBatch, compare_detections, tolerances

SPEC = InputSpec(height=128, width=128)
SIDE = 32


def scene(peaks, images=1, classes=3, floor=-9.0):
    """Return heads with these peaks (class, row, column, logit), far above the rest; boxes of 6 x 4 cells."""
    random = np.random.RandomState(1)
    hm = np.full((images, classes, SIDE, SIDE), floor, np.float32) + random.uniform(
        -1, 0, (images, classes, SIDE, SIDE)
    )
    for class_index, row, column, logit in peaks:
        hm[:, class_index, row, column] = logit
    wh = np.empty((images, 2, SIDE, SIDE))
    wh[:, 0], wh[:, 1] = 6, 4
    reg = np.full((images, 2, SIDE, SIDE), 0.25)
    return Heads(*(torch.from_numpy(part.astype(np.float32)) for part in (hm, wh, reg)))


def geometries(count=1):
    return [preprocess(np.zeros((100, 120, 3), np.uint8), SPEC)[1]] * count


def compare(ours, others, own=None):
    count = len(ours.hm)
    batch = ComparedBatch(ours, others, geometries(count), range(10, 10 + count), own)
    stage = compare_detections([batch])
    missing = [item for item in stage.facts['unmatched'] if not item.undecided]
    return SimpleNamespace(passed=stage.passed, missing=missing, **stage.facts)


PEAKS = [(0, 5, 6, 2.0), (1, 20, 11, 1.0), (2, 9, 25, 0.5), (0, 25, 25, -1.0)]


def test_the_same_heads_give_the_same_detections():
    found = compare(scene(PEAKS, 2), scene(PEAKS, 2))
    assert found.passed
    assert (found.images, found.reference, found.model, found.matched) == (2, 200, 200, 200)
    assert (found.score['max'], found.unmatched) == (0, [])
    assert found.least_iou == pytest.approx(1)


def test_a_lost_detection_is_listed_on_its_side():
    found = compare(scene(PEAKS), scene(PEAKS[:3]))
    assert not found.passed
    lost = [item for item in found.missing if item.side == 'reference']
    assert [(item.image_id, item.class_index) for item in lost] == [(10, 0)]
    assert lost[0].score == pytest.approx(1 / (1 + np.e), abs=1e-6)
    # Cell (25, 25) is at 25.25 * 4 of the input's 128 pixels, which are 120 image pixels; the image is 100
    # high and starts 10 rows down.
    expected = (25.25 - 3) * 3.75, (25.25 - 2) * 3.75 - 10, (25.25 + 3) * 3.75, (25.25 + 2) * 3.75 - 10
    assert lost[0].box == pytest.approx(expected, abs=0.02)
    found = compare(scene(PEAKS[:3]), scene(PEAKS))
    assert [item.class_index for item in found.missing if item.side == 'model'] == [0]


@pytest.mark.parametrize(
    'change',
    [
        lambda heads: heads.wh.mul_(1.05),
        lambda heads: heads.reg.add_(0.5),
        lambda heads: heads.reg.neg_(),
        lambda heads: heads.hm.copy_(heads.hm[:, [1, 0, 2]]),
        lambda heads: heads.wh.copy_(heads.wh[:, [1, 0]]),
    ],
)
def test_other_boxes_and_classes_do_not_match(change):
    others = scene(PEAKS)
    change(others)
    found = compare(scene(PEAKS), others)
    assert not found.passed
    assert len(found.missing) >= 2


@pytest.mark.parametrize('by, same', [(1e-3, True), (1e-2, False)])
def test_matched_scores_must_be_the_same(by, same):
    others = scene([peak[:3] + (peak[3] + by,) for peak in PEAKS])
    found = compare(scene(PEAKS), others)
    assert found.matched == 100
    assert found.passed == same
    assert found.score['max'] == pytest.approx(by / 4, rel=0.3)


def test_a_files_own_decoder_is_what_counts():
    heads = scene(PEAKS)
    for k in (100, 3):
        own = decode(heads, k=k)
        found = compare(heads, heads, own)
        assert found.passed and found.matched == found.reference == k
    assert not compare(heads, heads, own._replace(classes=own.classes + 1)).passed
    assert not compare(heads, heads, own._replace(boxes=own.boxes[..., [1, 0, 3, 2]])).passed
    assert not compare(heads, heads, own._replace(scores=own.scores * 0.99)).passed


def test_boxes_without_area_match_their_twins():
    ours, others = scene(PEAKS), scene(PEAKS)
    ours.wh.mul_(-1)
    others.wh.mul_(-1)
    found = compare(ours, others)
    assert found.passed and found.matched == 100 and found.least_iou == 1
    others.wh.mul_(2)
    assert not compare(ours, others).passed
    others = scene(PEAKS)
    others.wh.zero_()
    assert compare(others, others).least_iou == 1


def test_boxes_of_negative_size_match_only_the_same_orientation():
    ours, others = scene(PEAKS), scene(PEAKS)
    ours.wh.mul_(-1000)
    others.wh.mul_(-1000.5)  # 2 cells, but only a two-thousandth of the box
    assert compare(ours, others).matched == 100
    others.wh.mul_(-1)
    assert compare(ours, others).matched == 0


def test_of_several_candidates_the_nearest_is_taken():
    near = [(0, 10, 10, 2.0), (0, 10, 12, 1.0)]
    ours, others = scene(near), scene(near)
    found = compare(ours, others)
    assert found.passed and found.score['max'] == 0


def test_two_cells_that_tie_are_undecided():
    """The higher of two neighbours is the peak; rounding decides which one."""
    pair = [(1, 20, 11, 1.0), (1, 20, 12, 1.0 - 1e-5)]
    turned = [(1, 20, 11, 1.0 - 1e-5), (1, 20, 12, 1.0)]
    found = compare(scene(PEAKS[:1] + pair), scene(PEAKS[:1] + turned))
    assert found.passed
    assert sorted(item.side for item in found.unmatched if item.undecided and item.score > 0.5) == [
        'model',
        'reference',
    ]


def test_a_peak_that_moves_by_more_than_noise_is_not_undecided():
    pair = [(1, 20, 11, 1.0), (1, 20, 12, 0.9)]
    turned = [(1, 20, 11, 0.9), (1, 20, 12, 1.0)]
    found = compare(scene(PEAKS[:1] + pair), scene(PEAKS[:1] + turned))
    assert not found.passed
    assert len([item for item in found.missing if item.score > 0.5]) == 2


def test_the_last_of_the_best_hundred_is_undecided():
    grid = [
        (0, row, column, 1.0 - 0.01 * place)
        for place, (row, column) in enumerate(
            (row, column) for row in range(1, SIDE, 3) for column in range(1, SIDE, 3)
        )
    ]
    grid = grid[:101]
    others = list(grid)
    last = grid[99][3]
    others[99], others[100] = grid[99][:3] + (last - 1e-5,), grid[100][:3] + (last,)
    ours = list(grid)
    ours[100] = grid[100][:3] + (last - 1e-5,)
    found = compare(scene(ours), scene(others))
    assert found.matched == 99
    assert len(found.unmatched) == 2 and found.missing == []
    assert found.passed
    # ... unless the difference is larger than rounding
    ours[100] = grid[100][:3] + (last - 0.1,)
    assert not compare(scene(ours), scene(others)).passed


def test_a_tie_makes_room_at_the_end_of_the_list():
    """Two equal neighbours are two peaks; unequal ones are one peak, and the next in line is listed."""
    grid = [
        (0, row, column, 1.0 - 0.02 * place)
        for place, (row, column) in enumerate(
            (row, column) for row in range(1, SIDE, 3) for column in range(1, SIDE, 3)
        )
    ][:100]
    twin = [(1, 20, 11, 2.0), (1, 20, 12, 2.0)]
    found = compare(scene(grid + twin), scene(grid + [twin[0], twin[1][:3] + (2.0 - 1e-5,)]))
    assert found.matched == 99
    assert [(item.side, item.undecided) for item in found.unmatched] == [('reference', True), ('model', True)]
    assert found.unmatched[1].score < found.unmatched[0].score - 0.1
    assert found.passed
    # Detections that do not fill such a place are not excused.
    ours = scene(grid + twin)
    found = compare(ours, scene(grid + [twin[0]]))
    assert len(found.missing) == 2
    assert not found.passed


def test_a_decoder_may_round_saturated_scores_in_its_own_way():
    heads = scene(PEAKS + [(1, 3, 3, 30.0), (1, 3, 4, 29.0)])  # the sigmoid of both is 1 in float32
    own = decode(heads)
    other = decode(scene(PEAKS + [(1, 3, 3, 30.0)]))
    assert compare(heads, heads, own).passed
    found = compare(heads, heads, other)
    assert found.matched == 99
    assert found.passed
    assert not compare(heads, heads, decode(scene(PEAKS[:3] + [(1, 3, 3, 30.0)]))).passed


def test_undecided_never_stretches_beyond_the_tolerance():
    """Large differences everywhere excuse nothing."""
    random = np.random.RandomState(5)
    ours = scene([], floor=-1.0)
    others = ours._replace(
        hm=ours.hm + torch.from_numpy(random.uniform(-1, 1, ours.hm.shape).astype(np.float32))
    )
    found = compare(ours, others)
    assert not found.passed
    assert len(found.missing) > 50
    assert all(item.score > tolerances.FLOAT32.tie for item in found.missing)
