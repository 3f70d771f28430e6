"""Detections in COCO's results format, and their COCO metrics."""

import collections
import contextlib
import functools
from typing import Any, Callable, Collection, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from pycocotools.cocoeval import COCOeval

from ..device import available_cpus
from ..errors import DataError, UserError
from ..processes import ordered_map
from .data import CocoData, create_index, silence_stdout

#: The twelve figures in COCO's order: name, title, abbreviation, IoU, area, maximum number of detections per
#: image and class.
_FIGURES = (
    ('AP', 'Average Precision', '(AP)', '0.50:0.95', 'all', 100),
    ('AP50', 'Average Precision', '(AP)', '0.50', 'all', 100),
    ('AP75', 'Average Precision', '(AP)', '0.75', 'all', 100),
    ('APs', 'Average Precision', '(AP)', '0.50:0.95', 'small', 100),
    ('APm', 'Average Precision', '(AP)', '0.50:0.95', 'medium', 100),
    ('APl', 'Average Precision', '(AP)', '0.50:0.95', 'large', 100),
    ('AR1', 'Average Recall', '(AR)', '0.50:0.95', 'all', 1),
    ('AR10', 'Average Recall', '(AR)', '0.50:0.95', 'all', 10),
    ('AR100', 'Average Recall', '(AR)', '0.50:0.95', 'all', 100),
    ('ARs', 'Average Recall', '(AR)', '0.50:0.95', 'small', 100),
    ('ARm', 'Average Recall', '(AR)', '0.50:0.95', 'medium', 100),
    ('ARl', 'Average Recall', '(AR)', '0.50:0.95', 'large', 100),
)

#: so many detections are worth several processes
_MANY = 20000

#: Names of the twelve figures, in COCO's order.
STAT_NAMES = tuple(figure[0] for figure in _FIGURES)


class CocoMetrics(NamedTuple):
    """The result of :func:`compute_metrics`.

    ``stats``: the twelve figures by their names in :data:`STAT_NAMES`, each in [0, 1], or None if there is no
    such ground truth (pycocotools returns -1). ``per_class``: AP by category name, None for a class without
    ground truth.
    """

    stats: Dict[str, Optional[float]]
    per_class: Dict[str, Optional[float]]


def to_results(
    image_id: int, detections: np.ndarray, channels: Sequence[Optional[Tuple[int, str]]]
) -> List[Dict[str, Any]]:
    """Convert the detections of one image to COCO's results format.

    Args:
        image_id: the image's id.
        detections: float32 [m, 6]: x1, y1, x2, y2 in image pixels, score, class index.
        channels: (category id, name) by class index, None where a class has no category: its detections
            are dropped.

    Returns:
        Up to m dicts of image_id, category_id, bbox [x, y, width, height] and score. Width and height are
        computed in float32, then boxes and scores are rounded to two decimals, as upstream CenterNet does:
        the published figures were computed from such values.

    Raises:
        UserError: a box or score is not finite, which damaged weights cause.
    """
    detections = np.asarray(detections, np.float32).reshape(-1, 6)
    if not np.isfinite(detections).all():
        raise UserError(
            f'the detections of image {image_id} are not finite: check that the weights are intact and that'
            ' the precision is sufficient'
        )
    boxes = np.concatenate([detections[:, :2], detections[:, 2:4] - detections[:, :2]], axis=1)
    # Python's round gives the same digits as upstream's float('{:.2f}'.format(x)); numpy's does not always.
    return [
        {
            'image_id': int(image_id),
            'category_id': int(channels[class_index][0]),
            'bbox': [round(value, 2) for value in box],
            'score': round(score, 2),
        }
        for box, score, class_index in zip(
            boxes.tolist(), detections[:, 4].tolist(), detections[:, 5].astype(int).tolist()
        )
        if channels[class_index] is not None
    ]


def compute_metrics(data: CocoData, results: List[Dict[str, Any]], image_ids: List[int]) -> CocoMetrics:
    """Compute COCO's box metrics over some images.

    Args:
        data: the ground truth; its categories that have a channel count.
        results: detections in COCO's results format (:func:`to_results`); those of other images and
            categories are ignored.
        image_ids: the images that count, with or without detections.

    Returns:
        The figures. Without any detection they are 0 wherever there is ground truth.

    Raises:
        DataError: an id in ``image_ids`` is not in the data set.
        ProcessError: see :func:`map_classes`.
    """
    wanted = set(image_ids)
    unknown = sorted(wanted.difference(data.image_ids))
    if unknown:
        raise DataError(
            '{} has no image with the id {}{}'.format(
                data.annotations, unknown[0], f' (and {len(unknown) - 1} more)' if unknown[1:] else ''
            )
        )
    tables = map_classes(_tables, data, results, wanted)
    precision = np.concatenate([table for table, _ in tables], axis=2)
    recall = np.concatenate([table for _, table in tables], axis=1)
    return summarise_classes(data.evaluated, precision, recall)


def map_classes(
    function: Callable[[COCOeval], Any],
    data: CocoData,
    results: List[Dict[str, Any]],
    image_ids: Collection[int],
) -> List[Any]:
    """Evaluate each class alone, over the images where it occurs, and return what a function makes of it.

    The figures are the same as for all classes at once, where COCOeval's tables of all images times all
    classes take gigabytes for val2017. Large data sets are divided among processes.

    Args:
        function: gets an evaluator after ``evaluate`` and ``accumulate``. The ids of its detections are the
            positions in ``results``, from 1; those of its ground truth are the ids of the annotations.
        data, results: as for :func:`compute_metrics`.
        image_ids: the images that count.

    Returns:
        What ``function`` returned, in the order of ``data.evaluated``.

    Raises:
        ProcessError: one of the processes was killed, as it is where memory runs out.
    """
    wanted = set(image_ids)
    truth, found = collections.defaultdict(list), collections.defaultdict(list)
    for entry in data.coco.dataset['annotations']:
        if entry['image_id'] in wanted:
            truth[entry['category_id']].append(entry)
    # Add what pycocotools' loadRes adds. It fails on an empty list and creates a polygon for every box.
    for number, result in enumerate(results, start=1):
        if result['image_id'] in wanted:
            box = result['bbox']
            found[result['category_id']].append(dict(result, id=number, iscrowd=0, area=box[2] * box[3]))
    classes = [(category, truth[category], found[category]) for category, _ in data.evaluated]
    evaluate = functools.partial(_evaluate_class, function)
    processes = min(len(classes), available_cpus()) if len(results) >= _MANY else 1
    if processes == 1:
        return [evaluate(item) for item in classes]
    with contextlib.closing(ordered_map(evaluate, classes, processes)) as answers:
        return list(answers)


def _tables(evaluator: COCOeval) -> Tuple[np.ndarray, np.ndarray]:
    return evaluator.eval['precision'], evaluator.eval['recall']


def _evaluate_class(function: Callable, item: Tuple[int, List, List]) -> Any:
    category, truth, found = item
    images = sorted({entry['image_id'] for entry in truth + found})
    tables = {'images': [{'id': image} for image in images], 'categories': [{'id': category}]}
    evaluator = _Evaluator(
        create_index(dict(tables, annotations=truth)), create_index(dict(tables, annotations=found)), 'bbox'
    )
    with silence_stdout():
        evaluator.evaluate()
        evaluator.accumulate()
    return function(evaluator)


class _Evaluator(COCOeval):
    """COCOeval with a short way for images without ground truth of a class, which most are."""

    def computeIoU(self, imgId: int, catId: int) -> Any:
        return super().computeIoU(imgId, catId) if self._gts[imgId, catId] else []

    def evaluateImg(self, imgId: int, catId: int, aRng: List[float], maxDet: int) -> Any:
        found = self._dts[imgId, catId]
        if self._gts[imgId, catId] or not found:
            return super().evaluateImg(imgId, catId, aRng, maxDet)
        found = sorted(found, key=lambda entry: -entry['score'])[:maxDet]
        areas = np.array([entry['area'] for entry in found])
        thresholds = len(self.params.iouThrs)
        return {
            'image_id': imgId,
            'category_id': catId,
            'aRng': aRng,
            'maxDet': maxDet,
            'dtIds': [entry['id'] for entry in found],
            'gtIds': [],
            'dtMatches': np.zeros((thresholds, len(found))),
            'gtMatches': np.zeros((thresholds, 0)),
            'dtScores': [entry['score'] for entry in found],
            'gtIgnore': np.zeros(0),
            'dtIgnore': np.repeat(((areas < aRng[0]) | (areas > aRng[1]))[None], thresholds, axis=0),
        }


def summarise_classes(
    categories: Sequence[Tuple[int, str]], precision: np.ndarray, recall: np.ndarray
) -> CocoMetrics:
    """Return the figures of COCOeval's tables.

    Args:
        categories: (id, name) of the classes.
        precision: float64 [IoU, recall, class, area, maxDets].
        recall: float64 [IoU, class, area, maxDets].
    """
    evaluator = COCOeval(iouType='bbox')
    evaluator.eval = {'precision': precision, 'recall': recall}
    with silence_stdout():
        evaluator.summarize()
    precision = precision[:, :, :, 0, -1]  # [IoU, recall, class], any area, 100 detections
    return CocoMetrics(
        stats={name: _figure(value) for name, value in zip(STAT_NAMES, evaluator.stats)},
        per_class={name: _figure(precision[:, :, i].mean()) for i, (_, name) in enumerate(categories)},
    )


def format_metrics(metrics: CocoMetrics) -> str:
    """Return the twelve figures as pycocotools prints them, one per line, with ``n/a`` instead of -1.000 if
    there is no ground truth of that size; a single line if there is none at all."""
    line = ' {:<18} {} @[ IoU={:<9} | area={:>6s} | maxDets={:>3d} ] = {}'
    values = [metrics.stats[name] for name in STAT_NAMES]
    if not any(value is not None for value in values):
        return 'no figures: the images have no ground truth'
    return '\n'.join(
        line.format(*(figure[1:] + ('n/a' if value is None else f'{value:0.3f}',)))
        for figure, value in zip(_FIGURES, values)
    )


def _figure(value: float) -> Optional[float]:
    return None if value < 0 else float(value)
