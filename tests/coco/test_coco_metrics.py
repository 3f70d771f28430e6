import contextlib
import io
import json
import os
import signal

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from support.made_up import made_up_dataset

from centernet.coco import (
    STAT_NAMES,
    CocoData,
    ResultTable,
    compute_metrics,
    format_metrics,
    metrics,
    results,
    to_results,
)
from centernet.coco.class_evaluation import create_index, silence_stdout
from centernet.system.errors import UserError
from centernet.system.processes import ProcessError

CATEGORIES = [(1, 'cat'), (3, 'dog')]


def found(image, *rows):
    """Return the results of one image from rows of x1, y1, x2, y2, score, class index."""
    return to_results(image, np.array(rows, np.float32), CATEGORIES)


def evaluate(root, detections, image_ids=(1, 2)):
    return compute_metrics(CocoData.load(str(root)), detections, image_ids)


def test_results_follow_upstreams_rounding():
    generator = np.random.RandomState(0)
    detections = (generator.rand(5000, 6) * 700).astype(np.float32)
    detections[:1000, :4] = generator.randint(0, 64000, (1000, 4)) / np.float32(
        200
    )  # many near the middle of two decimals
    detections[:, 4] = generator.rand(5000)
    detections[:, 5] = generator.randint(0, 2, 5000)
    results = to_results(42, detections, CATEGORIES)
    for row, result in zip(detections, results):
        x1, y1, x2, y2, score, index = row
        assert result == {
            'image_id': 42,
            'category_id': (1, 3)[int(index)],
            'score': float(f'{score:.2f}'),
            'bbox': [float(f'{value:.2f}') for value in (x1, y1, x2 - x1, y2 - y1)],
        }
    assert len(results) == 5000 and json.loads(json.dumps(results)) == results


def test_detections_of_channels_without_a_category_are_dropped():
    rows = np.array([[0, 0, 9, 9, 0.9, 0], [0, 0, 8, 8, 0.8, 1], [0, 0, 7, 7, 0.7, 2]], np.float32)
    assert [item['score'] for item in to_results(1, rows, [(5, 'cat'), None, (3, 'dog')])] == [0.9, 0.7]


def test_results_of_no_detections_and_of_nan():
    assert to_results(1, np.zeros((0, 6), np.float32), CATEGORIES) == []
    with pytest.raises(UserError, match=r'image 8 .* not finite'):
        found(8, [0, 0, 1, 1, float('nan'), 0])


def test_a_perfect_detection_and_absent_sizes(make_coco, capsys):
    metrics = evaluate(make_coco([dict(bbox=(10, 10, 50, 50))]), found(1, [10, 10, 60, 60, 0.9, 0]))
    absent = ('APs', 'APl', 'ARs', 'ARl')  # 50 x 50 is a medium object
    assert metrics.stats == {name: None if name in absent else pytest.approx(1.0) for name in STAT_NAMES}
    assert metrics.per_class == {'cat': pytest.approx(1.0), 'dog': None}
    assert capsys.readouterr() == ('', '')
    json.dumps(metrics.stats, allow_nan=False)


def test_a_loose_box_counts_up_to_its_iou(make_coco):
    # IoU 0.82: a hit at 0.50, 0.55 ... 0.80, seven of ten thresholds
    metrics = evaluate(make_coco([dict(bbox=(0, 0, 100, 100))]), found(1, [0, 0, 100, 82, 0.9, 0]))
    assert metrics.stats['AP'] == pytest.approx(0.7)
    assert metrics.stats['AP50'] == pytest.approx(1) and metrics.stats['AP75'] == pytest.approx(1)
    assert metrics.stats['AR1'] == pytest.approx(0.7)


def test_a_miss_before_a_hit_by_hand(make_coco):
    # By score: a false positive, then a hit on one of two objects: precision 1/2 up to recall 1/2, that is 51
    # of 101 points.
    root = make_coco([dict(image=1), dict(image=2)])
    metrics = evaluate(root, found(1, [100, 100, 150, 150, 0.9, 0]) + found(2, [0, 0, 50, 50, 0.8, 0]))
    assert metrics.stats['AP'] == pytest.approx(0.5 * 51 / 101)
    assert metrics.stats['AR100'] == pytest.approx(0.5)


def test_detections_in_a_crowd_are_neither_hits_nor_false_positives(make_coco):
    in_crowd = [[100, 100, 140, 140, 0.99, 0], [110, 120, 150, 160, 0.98, 0], [100, 100, 190, 190, 0.97, 0]]
    results = found(1, [0, 0, 50, 50, 0.5, 0], *in_crowd)
    crowd = dict(bbox=(90, 90, 110, 110))
    assert evaluate(make_coco([{}, dict(crowd, iscrowd=1)], root='a'), results).stats['AP'] == pytest.approx(
        1
    )
    assert evaluate(make_coco([{}], root='b'), results).stats['AP'] == pytest.approx(
        0.25
    )  # without it: three before the hit
    # a crowd of another class does not count
    other = make_coco([{}, dict(crowd, iscrowd=1, category=3)], root='c')
    metrics = evaluate(other, results)
    assert metrics.stats['AP'] == pytest.approx(0.25)
    assert metrics.per_class == {'cat': pytest.approx(0.25), 'dog': None}  # only a crowd: nothing to find


def test_class_indices_map_to_category_ids_with_gaps(make_coco):
    categories = ((90, 'toothbrush'), (13, 'stop sign'), (1, 'person'))
    data = CocoData.load(
        str(make_coco([dict(category=90), dict(image=2, category=13)], categories=categories))
    )
    results = to_results(1, np.array([[0, 0, 50, 50, 0.9, 2]], np.float32), data.categories)
    results += to_results(2, np.array([[0, 0, 50, 50, 0.9, 0]], np.float32), data.categories)
    assert [result['category_id'] for result in results] == [90, 1]
    assert compute_metrics(data, results, [1, 2]).per_class == {
        'person': None,
        'stop sign': 0.0,
        'toothbrush': pytest.approx(1),
    }


def test_a_detection_on_an_image_without_annotations_is_a_false_positive(make_coco):
    root = make_coco([dict(image=1)])
    results = found(1, [0, 0, 50, 50, 0.8, 0]) + found(2, [0, 0, 50, 50, 0.9, 0])
    assert evaluate(root, results).stats['AP'] == pytest.approx(0.5)
    assert evaluate(root, results, [1]).stats['AP'] == pytest.approx(1)  # image 2 is not evaluated


def test_no_detections_give_zeros(make_coco):
    root = make_coco([dict(bbox=(0, 0, 9, 9)), dict(image=2)])
    metrics = evaluate(root, [])
    assert metrics.stats == {name: None if name in ('APl', 'ARl') else 0.0 for name in STAT_NAMES}
    assert metrics.per_class == {'cat': 0.0, 'dog': None}
    assert (
        evaluate(root, found(2, [0, 0, 50, 50, 0.9, 0]), [1]).stats['AP'] == 0.0
    )  # none on the image that counts


def test_no_ground_truth_gives_no_figures(make_coco):
    root = make_coco()
    for detections in ([], found(1, [0, 0, 50, 50, 0.9, 0])):
        for images in ([1, 2], []):
            metrics = evaluate(root, detections, images)
            assert format_metrics(metrics).startswith('no metrics: ')
            assert '\n' not in format_metrics(metrics)
            assert set(metrics.stats.values()) == {None} and set(metrics.per_class.values()) == {None}


def test_one_pixel_and_long_objects(make_coco):
    root = make_coco([dict(bbox=(0, 0, 1, 1)), dict(image=2, bbox=(0, 3, 190, 6))])
    metrics = evaluate(root, found(1, [0, 0, 1, 1, 0.9, 0]) + found(2, [0, 3, 190, 9, 0.9, 0]))
    assert metrics.stats['AP'] == pytest.approx(1) and metrics.stats['APs'] == pytest.approx(1)


def test_annotations_with_the_id_0_or_equal_ids_count(make_coco):
    results = found(1, [0, 0, 50, 50, 0.9, 0], [100, 100, 150, 150, 0.8, 0])
    objects = [dict(bbox=(0, 0, 50, 50)), dict(bbox=(100, 100, 50, 50))]
    root = make_coco(objects)
    path = root / 'annotations' / 'instances_val2017.json'
    dataset = json.loads(path.read_text())
    for numbers in ((0, 1), (7, 7)):
        for entry, number in zip(dataset['annotations'], numbers):
            entry['id'] = number
        path.write_text(json.dumps(dataset))
        assert evaluate(root, results).stats['AP'] == pytest.approx(1)


def test_evaluating_changes_nothing(make_coco):
    data = CocoData.load(str(make_coco([dict(image=1)])))
    results = found(1, [0, 0, 50, 50, 0.9, 0])
    before = json.dumps(results)
    first = compute_metrics(data, results, [1, 2])
    assert json.dumps(results) == before
    assert compute_metrics(data, results, [2, 1]) == first


@pytest.fixture
def random_set(make_coco):
    """Thirty images with crowds, objects of all sizes, and detections good and bad."""
    generator = np.random.RandomState(5)
    objects, results = [], []
    for image in range(1, 31):
        rows = []
        for _ in range(generator.randint(0, 6)):
            x, y, width, height = (generator.rand(4) * 150).round(2).tolist()
            category = int(generator.choice([1, 3]))
            objects.append(
                dict(
                    image=image,
                    category=category,
                    bbox=(x, y, width, height),
                    iscrowd=int(generator.rand() < 0.15),
                )
            )
            for _ in range(generator.randint(0, 3)):
                index = [1, 3].index(category) if generator.rand() < 0.9 else generator.randint(0, 2)
                corners = [x, y, x + width, y + height] + generator.randn(4) * 4
                rows.append(np.append(corners, [generator.rand(), index]))
        results += to_results(image, np.array(rows, np.float32).reshape(-1, 6), CATEGORIES)
    return make_coco(objects, images=tuple(range(1, 31))), results


def pycocotools_on(root, results, **params):
    """Return what pycocotools prints for a data set's own file, and its evaluator."""
    (root / 'results.json').write_text(json.dumps(results))
    printed = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(root / 'annotations' / 'instances_val2017.json'))
        evaluator = COCOeval(truth, truth.loadRes(str(root / 'results.json')), 'bbox')
        for name, value in params.items():
            setattr(evaluator.params, name, value)
        evaluator.evaluate()
        evaluator.accumulate()
        with contextlib.redirect_stdout(printed):
            evaluator.summarize()
    return printed.getvalue().rstrip('\n'), evaluator


@pytest.mark.parametrize('kept, channel', [(1, 0), (3, 1)])
def test_dropped_channels_are_pycocotools_cat_ids(random_set, kept, channel):
    root, results = random_set
    _, evaluator = pycocotools_on(root, results, catIds=[kept])
    channels = [item if item[0] == kept else None for item in CATEGORIES]
    data = CocoData.load(str(root)).with_channels(channels)
    metrics = compute_metrics(data, results, data.image_ids)
    assert 0.1 < metrics.stats['AP'] < 0.9
    assert [metrics.stats[name] for name in STAT_NAMES] == evaluator.stats.tolist()
    assert metrics.per_class == {CATEGORIES[channel][1]: metrics.stats['AP']}


def test_strays_count_as_little_as_in_pycocotools(random_set):
    root, results = random_set
    path = root / 'annotations' / 'instances_val2017.json'
    dataset = json.loads(path.read_text())
    for position, entry in enumerate(dataset['annotations']):
        if position % 5 == 0:
            entry[('category_id', 'image_id')[position % 2]] = 77
    path.write_text(json.dumps(dataset))
    _, evaluator = pycocotools_on(root, results)
    metrics = evaluate(root, results, range(1, 31))
    assert 0.1 < metrics.stats['AP'] < 0.9
    assert [metrics.stats[name] for name in STAT_NAMES] == evaluator.stats.tolist()


def test_equals_pycocotools_used_directly(random_set):
    root, results = random_set
    for image_ids in (list(range(1, 31)), list(range(4, 12))):
        printed, evaluator = pycocotools_on(root, results, imgIds=image_ids)
        metrics = evaluate(root, results, image_ids)
        assert 0.1 < metrics.stats['AP'] < 0.9
        assert [metrics.stats[name] for name in STAT_NAMES] == evaluator.stats.tolist()
        assert format_metrics(metrics) == printed
        for index, name in enumerate(('cat', 'dog')):
            assert metrics.per_class[name] == evaluator.eval['precision'][:, :, index, 0, 2].mean()


def test_absent_metrics_are_printed_as_not_available(make_coco):
    lines = format_metrics(evaluate(make_coco([{}]), [])).split('\n')
    assert len(lines) == 12
    assert lines[0] == ' Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 0.000'
    assert lines[5] == ' Average Precision  (AP) @[ IoU=0.50:0.95 | area= large | maxDets=100 ] = n/a'


def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def divided(monkeypatch):
    """Many detections, on a machine of two cores."""
    monkeypatch.setattr(metrics, '_MANY', 1)
    monkeypatch.setattr(metrics, 'available_cpus', lambda: 2)
    monkeypatch.setattr(cv2, 'getNumThreads', lambda: 2)


def made_up():
    dataset, results = made_up_dataset(images=6)
    return CocoData(dataset, 'annotations.json', 'images'), results


def test_processes_compute_what_one_does(divided, monkeypatch, tmp_path):
    data, detections = made_up()
    parents = []
    evaluate_class = metrics.evaluate_class
    monkeypatch.setattr(metrics, 'evaluate_class', lambda *words: parents.append(0) or evaluate_class(*words))
    found = compute_metrics(data, detections, data.image_ids)
    assert not parents, 'classes were evaluated in this process'
    with monkeypatch.context() as patch:  # several processes read one file
        patch.setattr(results, '_IN_MEMORY', 0)
        table = ResultTable(detections, str(tmp_path))
        assert found == compute_metrics(data, table, data.image_ids) and table._file
    monkeypatch.setattr(cv2, 'getNumThreads', lambda: 1)  # as with --threads 1
    assert found == compute_metrics(data, detections, data.image_ids)
    assert len(parents) == len(data.evaluated)


def test_a_killed_process_is_named(divided, monkeypatch):
    data, results = made_up()
    monkeypatch.setattr(metrics, 'evaluate_class', killed)
    with pytest.raises(ProcessError, match='was killed by signal 9'):
        compute_metrics(data, results, data.image_ids)


@pytest.mark.parametrize('in_memory', [2000000, 50, 0])
def test_a_table_keeps_every_digit(monkeypatch, tmp_path, in_memory):
    monkeypatch.setattr(results, '_PENDING', 50)
    monkeypatch.setattr(results, '_IN_MEMORY', in_memory)
    detections = made_up()[1]
    table = ResultTable(folder=str(tmp_path))
    for first in range(0, len(detections), 7):
        table.add(detections[first : first + 7])
    assert len(table) == len(detections)
    category = detections[-1]['category_id']
    own = [item for item in detections if item['category_id'] == category]
    found = table.of_category(category)
    assert found['image_ids'].tolist() == [item['image_id'] for item in own]
    assert (found['values'] / 100).tolist() == [item['bbox'] + [item['score']] for item in own]
    assert (table._file is None) == (in_memory > len(detections))
    assert list(tmp_path.iterdir()) == [], 'the file has no name'


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('decimals', [1, 2])
def test_tables_are_those_of_cocoeval(seed, decimals, monkeypatch):
    """Bit for bit, also when images are taken a few at a time."""
    monkeypatch.setattr('centernet.coco.class_evaluation._IMAGES', 7)
    # in some images, a class has more than a hundred detections
    dataset, results = made_up_dataset(images=25, classes=3, seed=seed, background=200, kinds=1)
    for result in results:
        result['score'] = round(result['score'] + 0.003 * (result['image_id'] % 3), decimals)
    data = CocoData(dataset, 'annotations.json', 'images')
    image_ids = data.image_ids[2:]
    tables = metrics.evaluate_classes(data, ResultTable(results), image_ids, with_matches=True)
    with silence_stdout():
        truth = create_index(data.to_dataset())
        evaluator = COCOeval(truth, truth.loadRes(results), 'bbox')
        evaluator.params.imgIds = image_ids
        evaluator.evaluate()
        evaluator.accumulate()
    precision = np.concatenate([table.precision for table in tables], axis=2)
    recall = np.concatenate([table.recall for table in tables], axis=1)
    assert np.array_equal(precision, evaluator.eval['precision'])
    assert np.array_equal(recall, evaluator.eval['recall'])
    assert (precision > 0).any()
    count = len(image_ids)
    for number, (category, _) in enumerate(data.evaluated):
        own = [entry for entry in results if entry['category_id'] == category]
        matches = tables[number].matches
        entries = evaluator.evalImgs[number * 4 * count : (number * 4 + 1) * count]
        expected = {}
        for entry in filter(None, entries):
            columns = (entry['dtIds'], entry['dtMatches'][0].tolist(), entry['dtIgnore'][0].tolist())
            expected.update((identity, rest) for identity, *rest in zip(*columns))
        places = [results.index(own[place]) for place in matches.positions]
        found = dict(zip((place + 1 for place in places), zip(matches.matches, matches.ignored)))
        assert {key: list(value) for key, value in found.items()} == expected
