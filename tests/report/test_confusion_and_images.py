"""Confusions, errors of images and differences between runs, worked out by hand."""

import numpy as np
import pytest
from support.made_up import made_up_run, run_of

from centernet.coco import CocoData
from centernet.report.confusion import confusion, most_confused
from centernet.report.images import compare_images, count_errors, worst_images
from centernet.report.matches import match
from centernet.report.matching import pair
from centernet.report.pictures import Picture, make_view

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
    matches = match(run)
    assert confusion(matches, 0.5).tolist() == [[1, 0, 1], [1, 0, 1], [1, 1, 0]]
    assert most_confused(confusion(matches, 0.5), 5) == [(1, 0, 1)]
    assert confusion(matches, 0.2).tolist() == [[1, 0, 1], [1, 1, 0], [1, 1, 0]]
    assert confusion(matches, 1.0).tolist() == [[0, 0, 2], [0, 0, 2], [0, 0, 0]]


def test_who_chooses_first():
    iou = np.array([[0.6, 0.9], [0.5, 0.8], [0.49, 0.2]])
    assert pair(iou).tolist() == pair(iou, largest_first=True).tolist() == [1, 0, -1]
    iou = np.array([[0.8, 0.6], [0.9, 0.4]])
    assert pair(iou).tolist() == [0, -1] and pair(iou, largest_first=True).tolist() == [1, 0]
    assert pair(np.zeros((2, 0))).tolist() == [-1, -1] and len(pair(np.zeros((0, 2)))) == 0


def test_a_detection_of_the_right_class_comes_first():
    """It overlaps less than one of another class, which is left over then."""
    run = run_of(data_set([(7, 1, A)]), results((7, 1, [10, 0, 100, 100], 0.3), (7, 2, A, 0.9)))
    assert confusion(match(run), 0.1).tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_errors_of_images(run):
    matches = match(run)
    assert count_errors(matches, 0.5) == {7: 4, 9: 1, 8: 1}
    assert worst_images(matches, 0.5, 2) == [7, 9]
    perfect = match(run_of(data_set([(7, 1, A)]), results((7, 1, A, 0.9))))
    assert worst_images(perfect, 0.5, 24) == []
    views = [
        make_view(matches, 0.5, Picture(image_id, '', (640, 480), ''), ['one', 'two']) for image_id in (7, 9)
    ]
    assert views[0].caption == '1 true, 2 false (one 0.80, one 0.70), 2 missed (two, two)'
    assert [(box.kind, box.label) for box in views[0].outlines] == [
        ('true', 'one 0.90'),
        ('missed', 'two'),
        ('missed', 'two'),
        ('false', 'one 0.80'),
        ('false', 'one 0.70'),
    ]
    assert [box.kind for box in views[1].outlines] == ['missed']  # the crowd is neither


def test_counts_agree_with_confusions():
    run = made_up_run(seed=5)
    matches = match(run)
    table = confusion(matches, 0.4)
    false = table[:, :-1].sum() - np.trace(table)
    lost = table[:-1, :].sum() - np.trace(table)
    assert sum(count_errors(matches, 0.4).values()) == false + lost


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
    changes = compare_images(match(first), match(second), (0.5, 0.5))
    got = [(item.image_id, item.only_first, item.only_second, item.moved, item.gain) for item in changes]
    assert got == [(7, 0, 0, 2, -1), (9, 0, 0, 0, 0), (8, 0, 1, 0, -1)]
    assert [item.changes for item in changes] == [2, 0, 1]


def test_a_run_does_not_differ_from_itself():
    run = made_up_run(seed=2)
    matches = match(run)
    changes = compare_images(matches, matches, (0.0, 0.0))
    assert sum(item.changes for item in changes) == 0 and len(changes) == 60
