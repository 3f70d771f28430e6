"""Confusions, errors of images and differences between runs, worked out by hand."""

import numpy as np
import pytest
from support.made_up import made_up_run, run_of

from centernet.coco import CocoData
from centernet.report.confusion import confusion
from centernet.report.images import compare_images, count_errors, mark_images, worst_images
from centernet.report.matches import match

A, B, C = [0, 0, 100, 100], [200, 0, 100, 100], [0, 200, 100, 100]


def data_set(objects, crowds=()):
    """Objects (image, category, box) of the categories 1 and 2, on the images 7, 8 and 9."""
    annotations = [
        {
            'id': number,
            'image_id': image,
            'category_id': category,
            'bbox': box,
            'area': 1e4,
            'iscrowd': int(number > len(objects)),
        }
        for number, (image, category, box) in enumerate([*objects, *crowds], start=1)
    ]
    images = [
        {'id': number, 'file_name': f'{number}.jpg', 'width': 640, 'height': 480} for number in (7, 9, 8)
    ]
    categories = [{'id': 1, 'name': 'one'}, {'id': 2, 'name': 'two'}]
    return CocoData({'images': images, 'annotations': annotations, 'categories': categories}, 'a.json', 'i')


def results(*rows):
    return [
        {'image_id': image, 'category_id': category, 'bbox': box, 'score': score}
        for image, category, box, score in rows
    ]


@pytest.fixture
def run():
    data = data_set([(7, 1, A), (7, 2, B), (7, 2, C), (9, 1, A)], crowds=[(9, 1, C)])
    return run_of(
        data,
        results(
            (7, 1, A, 0.9),  # true
            (7, 1, B, 0.8),  # a two taken for a one
            (7, 1, [400, 300, 50, 50], 0.7),  # nothing is there
            (7, 2, C, 0.2),  # true, but weak
            (9, 1, C, 0.9),  # on the crowd
            (8, 2, A, 0.5),  # nothing is there
        ),
    )


def test_confusion(run):
    assert confusion(match(run), 0.5).table.tolist() == [[1, 0, 1], [1, 0, 1], [1, 1, 0]]
    assert confusion(match(run), 0.5).largest(5) == [(1, 0, 1)]
    assert confusion(match(run), 0.2).table.tolist() == [[1, 0, 1], [1, 1, 0], [1, 1, 0]]
    assert confusion(match(run), 1.0).table.tolist() == [[0, 0, 2], [0, 0, 2], [0, 0, 0]]


def test_a_detection_of_the_right_class_comes_first():
    """It overlaps less than one of another class, which is left over then."""
    run = run_of(data_set([(7, 1, A)]), results((7, 1, [10, 0, 100, 100], 0.3), (7, 2, A, 0.9)))
    assert confusion(match(run), 0.1).table.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_errors_of_images(run):
    matches = match(run)
    assert count_errors(matches, 0.5, run.image_ids).tolist() == [4, 1, 1]  # of 7, 9 and 8
    assert worst_images(matches, 0.5, run.image_ids, 2) == [7, 9]
    found = mark_images(matches, 0.5, [7, 9])
    assert (found[7].false, found[7].missed) == (2, 2)
    assert [(mark.kind, mark.class_index, mark.score) for mark in found[7].marks] == [
        ('true', 0, 0.9),
        ('false', 0, 0.8),
        ('false', 0, 0.7),
        ('missed', 1, None),
        ('missed', 1, None),
    ]
    assert [mark.kind for mark in found[9].marks] == ['missed']  # the crowd is neither


def test_images_without_errors_are_not_among_the_worst():
    run = run_of(data_set([(7, 1, A)]), results((7, 1, A, 0.9)))
    assert worst_images(match(run), 0.5, run.image_ids, 24) == []


def test_counts_agree_with_confusions():
    run = made_up_run(seed=5)
    matches = match(run)
    table = confusion(matches, 0.4).table
    false = table[:, :-1].sum() - np.trace(table)
    lost = table[:-1, :].sum() - np.trace(table)
    assert count_errors(matches, 0.4, run.image_ids).sum() == false + lost


def test_differences():
    data = data_set([(7, 1, A), (7, 2, B), (9, 1, A)])
    first = run_of(data, results((7, 1, A, 0.9), (7, 2, B, 0.8), (9, 1, A, 0.6), (8, 1, C, 0.1)))
    second = run_of(
        data,
        results(
            (7, 1, [0, 0, 90, 100], 0.9),  # another box: IoU 0.9
            (7, 2, B, 0.4),  # another score, below the threshold
            (9, 1, A, 0.6),
            (8, 1, C, 0.1),  # weak in both
            (8, 2, C, 0.7),  # new, and wrong
        ),
    )
    changes = compare_images(match(first), match(second), (0.5, 0.5), data.image_ids)
    got = [(item.image_id, item.only_first, item.only_second, item.moved, item.gain) for item in changes]
    assert got == [(7, 0, 0, 2, -1), (9, 0, 0, 0, 0), (8, 0, 1, 0, -1)]
    assert [item.changes for item in changes] == [2, 0, 1]


def test_a_run_does_not_differ_from_itself():
    run = made_up_run(seed=2)
    matches = match(run)
    changes = compare_images(matches, matches, (0.0, 0.0), run.image_ids)
    assert sum(item.changes for item in changes) == 0 and len(changes) == 60
