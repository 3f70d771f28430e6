"""postprocess and merge: back to image pixels, and one list from the detections of several scales."""

import doctest

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import centernet.detection
from centernet.detection import InputSpec, RawBoxes, merge, postprocess, preprocess, soft_nms


def raw_boxes(boxes, scores=None, classes=None):
    boxes = torch.as_tensor(np.asarray(boxes, dtype=np.float32))
    scores = (
        torch.full(boxes.shape[:2], 0.5)
        if scores is None
        else torch.as_tensor(np.asarray(scores, dtype=np.float32))
    )
    classes = (
        torch.zeros(boxes.shape[:2], dtype=torch.int64)
        if classes is None
        else torch.as_tensor(np.asarray(classes, dtype=np.int64))
    )
    return RawBoxes(boxes, scores, classes)


def place(width, height, spec, scale=1.0):
    return preprocess(np.zeros((height, width, 3), dtype=np.uint8), spec, scale)[1]


def detection(score, label=0, x=0.0, size=10.0):
    return [x, 0.0, x + size, size, score, label]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 900),
    st.integers(1, 900),
    st.booleans(),
    st.sampled_from([0.5, 0.75, 1.0, 1.25, 1.5]),
    st.integers(0, 1000),
)
def test_it_inverts_preprocess(width, height, keep_res, scale, seed):
    geometry = place(width, height, InputSpec(128, 256, keep_res), scale)
    corners = np.random.RandomState(seed).rand(10, 2, 2) * [width, height]
    matrix = geometry.to_input()
    cells = (corners * scale).dot(matrix[:, :2].T) + matrix[:, 2]
    (found,) = postprocess(raw_boxes((cells / 4).reshape(1, 10, 4)), [geometry])
    assert found.shape == (10, 6) and found.dtype == np.float32
    assert np.abs(found[:, :4] - corners.reshape(10, 4)).max() <= 1e-5 * max(width, height) + 1e-4


@pytest.mark.parametrize('scale', [0.5, 1.0, 1.5])
def test_fix_res_formula(scale):
    width, height = 300, 200
    geometry = place(width, height, InputSpec(128, 128), scale)
    cells = np.random.RandomState(0).rand(1, 7, 4) * 32
    (found,) = postprocess(raw_boxes(cells), [geometry])
    centre = np.array([int(width * scale), int(height * scale)] * 2) / 2.0
    expected = ((cells[0] - 16) * 300 / 32 + centre) / scale
    assert np.abs(found[:, :4] - expected).max() < 1e-3


def test_keep_res_formula():
    geometry = place(101, 90, InputSpec(keep_res=True))
    (found,) = postprocess(raw_boxes([[[0, 0, 32, 24]]]), [geometry])
    assert found[0, :4].tolist() == pytest.approx([50 - 64, 45 - 48, 50 + 64, 45 + 48], abs=1e-4)


@pytest.mark.parametrize('keep_res', [False, True])
@pytest.mark.parametrize('scale', [0.75, 1.0, 1.25])
def test_a_rectangle_is_found_where_it_was_drawn(keep_res, scale):
    image = np.zeros((240, 360, 3), dtype=np.uint8)
    image[60:140, 100:250] = 255
    planes, geometry = preprocess(image, InputSpec(256, 256, keep_res), scale)
    bright = planes[0] > planes[0].max() / 2
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    cells = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / 4.0
    (found,) = postprocess(raw_boxes([[cells]]), [geometry])
    assert found[0, :4].tolist() == pytest.approx([100, 60, 250, 140], abs=2.5)


def test_images_of_a_batch_have_their_own_geometry():
    geometries = [
        place(300, 200, InputSpec(128, 128)),
        place(64, 64, InputSpec(128, 128), 0.5),
        place(50, 400, InputSpec(128, 128)),
    ]
    boxes = np.random.RandomState(1).rand(3, 5, 4) * 32
    scores, classes = np.random.RandomState(2).rand(3, 5), np.arange(15).reshape(3, 5)
    together = postprocess(raw_boxes(boxes, scores, classes), geometries)
    for image in range(3):
        one = slice(image, image + 1)
        (alone,) = postprocess(raw_boxes(boxes[one], scores[one], classes[one]), geometries[one])
        assert np.array_equal(together[image], alone)
        assert together[image][:, 4] == pytest.approx(scores[image])
        assert together[image][:, 5].tolist() == classes[image].tolist()


def test_as_many_geometries_as_images():
    with pytest.raises(ValueError, match=r'2 images.* 1 geometries'):
        postprocess(raw_boxes(np.zeros((2, 3, 4))), [place(10, 10, InputSpec(32, 32))])
    assert postprocess(raw_boxes(np.zeros((0, 3, 4))), []) == []


def test_one_scale_is_only_sorted_by_class():
    boxes = np.array(
        [detection(0.9, 2), detection(0.8, 0), detection(0.7, 2), detection(0.6, 1), detection(0.5, 0)],
        dtype=np.float32,
    )
    assert merge([boxes]).tolist() == boxes[[1, 4, 3, 0, 2]].tolist()


def test_the_best_are_kept_and_ties_with_the_last_too():
    scores = [0.9, 0.8, 0.7, 0.5, 0.5, 0.5, 0.4]
    boxes = np.array(
        [detection(score, label % 2, 100.0 * label) for label, score in enumerate(scores)], dtype=np.float32
    )
    assert sorted(merge([boxes], max_per_image=4)[:, 4].tolist(), reverse=True) == pytest.approx(
        [0.9, 0.8, 0.7, 0.5, 0.5, 0.5]
    )
    assert len(merge([boxes], max_per_image=3)) == 3
    assert len(merge([boxes], max_per_image=7)) == len(merge([boxes], max_per_image=100)) == 7


def test_several_scales_are_suppressed_class_by_class():
    one = np.array([detection(0.9, 0), detection(0.8, 1)], dtype=np.float32)
    two = np.array([detection(0.7, 0), detection(0.6, 3, x=50), detection(0.5, 3, x=200)], dtype=np.float32)
    merged = merge([one, two])
    assert merged[:, 5].tolist() == [0, 0, 1, 3, 3]
    # Only the boxes of class 0 overlap, and completely.
    assert merged[:, 4].tolist() == pytest.approx([0.9, 0.7 * np.exp(-2), 0.8, 0.6, 0.5], abs=1e-6)
    both = np.concatenate([one, two])
    assert merge([both], nms=True).tolist() == merged.tolist()
    assert merge([both], nms=False)[:, 4].tolist() == pytest.approx([0.9, 0.7, 0.8, 0.6, 0.5])


def test_merge_is_soft_nms_per_class_and_then_the_best():
    random = np.random.RandomState(0)
    parts = []
    for count in (100, 80, 100):
        corner, size = random.rand(count, 2) * 200, random.rand(count, 2) * 80
        parts.append(
            np.column_stack(
                [corner, corner + size, random.rand(count) ** 3, random.randint(0, 6, count)]
            ).astype(np.float32)
        )
    found = merge(parts, max_per_image=50)
    everything, rows = np.concatenate(parts), []
    for label in range(6):
        members = everything[everything[:, 5] == label]
        for number, score in zip(*soft_nms(members[:, :4], members[:, 4])):
            rows.append(members[number, :4].tolist() + [float(score), label])
    threshold = sorted((row[4] for row in rows), reverse=True)[49]
    assert found.tolist() == [row for row in rows if row[4] >= threshold]
    assert len(found) >= 50


def test_no_detections():
    empty = np.zeros((0, 6), dtype=np.float32)
    assert merge([empty]).shape == merge([empty, empty]).shape == merge([empty], nms=True).shape == (0, 6)


def test_inputs_are_not_changed():
    parts = [np.array([detection(0.9), detection(0.8)], dtype=np.float32) for _ in range(2)]
    copies = [part.copy() for part in parts]
    merge(parts)
    assert all(np.array_equal(part, copy) for part, copy in zip(parts, copies))


def test_the_example_in_the_documentation_runs():
    result = doctest.testmod(centernet.detection)
    assert result.attempted > 0 and result.failed == 0
