"""Detections in COCO's results format, and their COCO metrics."""

import contextlib
import functools
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from pycocotools.cocoeval import COCOeval

from ..device import available_cpus
from ..errors import DataError, UserError
from ..processes import ordered_map
from .class_evaluation import ClassTables, evaluate_class
from .data import CocoData, silence_stdout
from .objects import Objects
from .result_table import ClassDetections, ResultTable, is_among

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
#: each needs memory for the class that it evaluates
_MOST_PROCESSES = 8

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


def compute_metrics(
    data: CocoData, results: Union[ResultTable, Sequence[Dict[str, Any]]], image_ids: Sequence[int]
) -> CocoMetrics:
    """Compute COCO's box metrics over some images.

    Args:
        data: the ground truth; its categories that have a channel count.
        results: detections, in COCO's results format (:func:`to_results`) or as a table; those of other
            images and categories are ignored.
        image_ids: the images that count, with or without detections.

    Returns:
        The figures. Without any detection they are 0 wherever there is ground truth.

    Raises:
        DataError: an id in ``image_ids`` is not in the data set.
        ProcessError: see :func:`evaluate_classes`.
    """
    unknown = sorted(set(image_ids).difference(data.image_ids))
    if unknown:
        raise DataError(
            '{} has no image with the id {}{}'.format(
                data.annotations, unknown[0], f' (and {len(unknown) - 1} more)' if unknown[1:] else ''
            )
        )
    table = results if isinstance(results, ResultTable) else ResultTable.of(results)
    tables = evaluate_classes(data, table, image_ids)
    return summarise_classes(data.evaluated, *join_tables(tables))


def evaluate_classes(
    data: CocoData, table: ResultTable, image_ids: Sequence[int], with_matches: bool = False
) -> List[ClassTables]:
    """Evaluate each class alone, over the images where it occurs.

    The figures are the same as for all classes at once, where COCOeval's tables of all images times all
    classes take gigabytes for val2017. The classes of large data sets are divided among processes.

    Args:
        data: as for :func:`compute_metrics`.
        table: the detections.
        image_ids: the images that count.
        with_matches: whether to return the matches, too. Positions of detections are those among the
            detections of their class, in the order in which they were added.

    Returns:
        The tables of the classes, in the order of ``data.evaluated``.

    Raises:
        ProcessError: one of the processes was killed, as it is where memory runs out.
    """
    wanted = np.unique(np.asarray(image_ids, np.int64))
    tasks = [(category, table.of_category(category)) for category, _ in data.evaluated]
    evaluate = functools.partial(_evaluate, data.objects, wanted, with_matches)
    processes = min(len(tasks), available_cpus(), _MOST_PROCESSES) if len(table) >= _MANY else 1
    if processes <= 1:
        return list(map(evaluate, tasks))
    with contextlib.closing(ordered_map(evaluate, tasks, processes)) as answers:
        return list(answers)


def join_tables(tables: Sequence[ClassTables]) -> Tuple[np.ndarray, np.ndarray]:
    """Return COCOeval's precision and recall of all classes."""
    return (
        np.concatenate([table.precision for table in tables], axis=2),
        np.concatenate([table.recall for table in tables], axis=1),
    )


def _evaluate(
    objects: Objects, wanted: np.ndarray, with_matches: bool, task: Tuple[int, ClassDetections]
) -> ClassTables:
    category, found = task
    truth = objects.take(objects.category_ids == category)
    truth = truth.take(is_among(truth.image_ids, wanted))
    counts = is_among(found.image_ids, wanted)
    if counts.all():
        return evaluate_class(truth, found, with_matches)
    positions = np.flatnonzero(counts)
    tables = evaluate_class(truth, found.take(positions), with_matches)
    if tables.matches is None:
        return tables
    matches = tables.matches
    return tables._replace(
        matches=matches._replace(
            positions=positions[matches.positions],
            found_by=np.append(positions, -1)[matches.found_by],
        )
    )


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
