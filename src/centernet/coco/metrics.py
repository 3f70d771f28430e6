"""COCO's metrics of detections."""

import contextlib
import functools
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import cv2
import numpy as np
from pycocotools.cocoeval import COCOeval

from ..system.device import available_cpus
from ..system.processes import ordered_map
from .class_evaluation import ClassTables, evaluate_class, silence_stdout
from .data import CocoData
from .results import ResultTable

#: Names of the twelve metrics, in COCO's order.
STAT_NAMES = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'AR1', 'AR10', 'AR100', 'ARs', 'ARm', 'ARl')
_TITLES = {'AP': 'Average Precision  (AP)', 'AR': 'Average Recall     (AR)'}

#: so many detections are worth several processes
_MANY = 20000
#: each needs memory for the class that it evaluates
_MOST_PROCESSES = 8


class CocoMetrics(NamedTuple):
    """The result of :func:`compute_metrics`.

    ``stats``: the twelve metrics by their names in :data:`STAT_NAMES`, each in [0, 1], or None if there is no
    such ground truth (pycocotools returns -1). ``per_class``: AP by category name, None for a class without
    ground truth.
    """

    stats: Dict[str, Optional[float]]
    per_class: Dict[str, Optional[float]]


def compute_metrics(
    data: CocoData, results: Union[ResultTable, Sequence[Dict[str, Any]]], image_ids: Sequence[int]
) -> CocoMetrics:
    """Compute COCO's box metrics over some images.

    Args:
        data: the ground truth; its categories that have a channel count.
        results: detections, in COCO's results format and with two decimals (:func:`.to_results`), or as a
            table; those of other images and categories are ignored.
        image_ids: the images that count, with or without detections.

    Returns:
        The metrics. Without any detection they are 0 wherever there is ground truth.

    Raises:
        ProcessError: see :func:`evaluate_classes`.
    """
    table = results if isinstance(results, ResultTable) else ResultTable(results)
    return summarise_classes(data.evaluated, evaluate_classes(data, table, image_ids))


def evaluate_classes(
    data: CocoData, table: ResultTable, image_ids: Sequence[int], with_matches: bool = False
) -> List[ClassTables]:
    """Evaluate each class alone, over the images where it occurs.

    The metrics are the same as for all classes at once, where COCOeval's tables of all images times all
    classes take gigabytes for val2017. The classes of large data sets are divided among processes, no more
    than the threads of :func:`.device.apply_threads`.

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
    table.store()
    wanted = np.unique(np.asarray(image_ids, np.int64))
    categories = [category for category, _ in data.evaluated]
    evaluate = functools.partial(evaluate_class, data.objects, table, wanted, with_matches)
    processes = min(available_cpus(), cv2.getNumThreads(), _MOST_PROCESSES)
    if processes <= 1 or len(table) < _MANY:
        return list(map(evaluate, categories))
    with contextlib.closing(ordered_map(evaluate, categories, processes)) as answers:
        return list(answers)


def summarise_classes(categories: Sequence[Tuple[int, str]], tables: Sequence[ClassTables]) -> CocoMetrics:
    """Return the metrics of the tables of classes; ``categories``: their (id, name)."""
    evaluator = COCOeval(iouType='bbox')
    precision = np.concatenate([table.precision for table in tables], axis=2)
    recall = np.concatenate([table.recall for table in tables], axis=1)
    evaluator.eval = {'precision': precision, 'recall': recall}
    with silence_stdout():
        evaluator.summarize()
    precision = precision[:, :, :, 0, -1]  # [IoU, recall, class], any area, 100 detections
    return CocoMetrics(
        stats={name: _metric(value) for name, value in zip(STAT_NAMES, evaluator.stats)},
        per_class={name: _metric(precision[:, :, i].mean()) for i, (_, name) in enumerate(categories)},
    )


def format_metrics(metrics: CocoMetrics) -> str:
    """Return the twelve metrics as pycocotools prints them, one per line, with ``n/a`` instead of -1.000 if
    there is no ground truth of that size; a single line if there is none at all."""
    if set(metrics.stats.values()) == {None}:
        return 'no metrics: the images have no ground truth'
    lines = []
    for name in STAT_NAMES:
        iou, area, limit = conditions(name)
        value = 'n/a' if metrics.stats[name] is None else f'{metrics.stats[name]:0.3f}'
        lines.append(
            f' {_TITLES[name[:2]]} @[ IoU={iou:<9} | area={area:>6} | maxDets={limit:>3} ] = {value}'
        )
    return '\n'.join(lines)


def conditions(name: str) -> Tuple[str, str, int]:
    """Return the IoUs, the size of objects, and the most detections of an image and class, of a metric."""
    iou = {'AP50': '0.50', 'AP75': '0.75'}.get(name, '0.50:0.95')
    area = {'s': 'small', 'm': 'medium', 'l': 'large'}.get(name[-1], 'all')
    return iou, area, {'AR1': 1, 'AR10': 10}.get(name, 100)


def _metric(value: float) -> Optional[float]:
    return None if value < 0 else float(value)
