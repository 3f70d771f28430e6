import json

import pytest

from centernet.coco import STAT_NAMES, CocoData, CocoMetrics
from centernet.coco import compute_metrics as evaluate
from centernet.verification import compare_metrics
from centernet.verification.metrics import (
    OWN_DETECTIONS,
    has_ground_truth,
    with_detections,
    without_annotations,
)


def metrics(**changed):
    stats = dict(dict.fromkeys(STAT_NAMES, 0.5), APl=None)
    stats.update(changed)
    return CocoMetrics(stats, {})


@pytest.mark.parametrize(
    'changed, same',
    [
        ({}, True),
        ({'AP': 0.5009}, True),
        ({'AP': 0.5011}, False),
        ({'ARl': 0.4989}, False),
        ({'AR1': 0.4991}, True),
        ({'APl': 0.0}, False),
        ({'AP50': None}, False),
    ],
)
def test_each_of_the_twelve_figures_counts(changed, same):
    found = compare_metrics(metrics(), metrics(**changed), 10)
    assert found.passed == same
    twelve = found.checks[:12]
    assert [check.name for check in twelve] == list(STAT_NAMES)
    assert [check.name for check in twelve if check.value > 0] == list(changed)


def test_no_figures_at_all_are_no_proof():
    none = metrics(**dict.fromkeys(STAT_NAMES))
    assert not compare_metrics(none, none, 10).passed


@pytest.fixture
def data(tmp_path):
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'images').mkdir()
    images = [{'id': number, 'file_name': f'{number}.png', 'width': 100, 'height': 80} for number in (3, 5)]
    for image in images:
        (tmp_path / 'images' / image['file_name']).write_bytes(b'')
    (tmp_path / 'annotations' / 'some.json').write_text(
        json.dumps({'images': images, 'annotations': [], 'categories': [{'id': 9, 'name': 'thing'}]})
    )
    return CocoData.load(str(tmp_path))


def result(image_id, category_id, score, box=(10, 10, 30, 20)):
    return {'image_id': image_id, 'category_id': category_id, 'bbox': list(box), 'score': score}


def test_images_can_be_used_for_a_network_of_other_classes(data):
    bare = without_annotations(data, 80)
    assert bare.image_ids == data.image_ids
    assert len(bare.categories) == 80
    assert bare.file(3) == data.file(3)
    assert len(data.categories) == 1


def test_only_objects_that_can_be_found_are_ground_truth(data):
    objects = [
        dict(result(3, 9, 1), id=1, area=600, iscrowd=1),
        dict(result(5, 9, 1), id=2, area=600, iscrowd=0),
    ]
    annotated = CocoData(dict(data.to_dataset(), annotations=objects), data.annotations, data.images)
    assert [has_ground_truth(annotated, ids) for ids in ([3], [5], [3, 5])] == [False, True, True]
    assert not has_ground_truth(annotated.with_channels([None]), [5])
    assert not has_ground_truth(data, [3, 5])


def test_a_networks_own_detections_measure_another(data):
    bare = without_annotations(data, 80)
    results = [result(3, 1, 0.9), result(3, 7, 0.4, (50, 40, 20, 20)), result(5, 80, 0.3)]
    measured = with_detections(bare, results, [3, 5])
    assert {
        name: value
        for name, value in evaluate(measured, results, [3, 5]).stats.items()
        if name in ('AP', 'AP75', 'AR100')
    } == pytest.approx({'AP': 1.0, 'AP75': 1.0, 'AR100': 1.0})
    moved = [
        dict(item, bbox=[item['bbox'][0] + 6] + item['bbox'][1:]) if item['image_id'] == 5 else item
        for item in results
    ]
    expected, other = (evaluate(measured, items, [3, 5]) for items in (results, moved))
    assert not compare_metrics(expected, other, 2, OWN_DETECTIONS).passed


def test_detections_at_the_edge_of_the_best_hundred_and_without_area_do_not_measure(data):
    bare = without_annotations(data, 80)
    results = [result(3, 1, 0.9 if number < 30 else 0.2) for number in range(100)] + [
        result(5, 2, 0.2),
        result(5, 2, 0.8, (1, 1, -4, 9)),
    ]
    measured = with_detections(bare, results, [3, 5])
    assert sorted(measured.image_ids)[0] == 3
    assert [len(measured.ground_truth(image_id).boxes) for image_id in (3, 5)] == [30, 0]
    assert with_detections(bare, results[-1:], [3, 5]) is None


def test_where_nothing_stands_out_of_all_images_each_image_decides(data):
    bare = without_annotations(data, 80)
    results = [result(3, 1, 0.5 if number < 7 else 0.2) for number in range(100)] + [
        result(5, 2, 0.6, (5, 5, 9, 9))
    ] * 100
    measured = with_detections(bare, results, [3, 5])
    assert [len(measured.ground_truth(image_id).boxes) for image_id in (3, 5)] == [7, 0]
    assert with_detections(bare, results[-100:], [3, 5]) is None
