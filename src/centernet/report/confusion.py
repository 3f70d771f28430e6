"""Which classes are taken for which."""

from typing import List, NamedTuple, Tuple

import numpy as np
from pycocotools import mask

from .matches import IOU, Matches


class Confusion(NamedTuple):
    """How often an object was detected as a class.

    ``table``: int64 [classes + 1, classes + 1]. The rows are the classes of the objects; the last one has
    the detections where no object is. The columns are the classes of the detections; the last one has the
    objects that were not found. ``score``: detections with a lower score are left out.
    """

    table: np.ndarray
    score: float

    def largest(self, count: int) -> List[Tuple[int, int, int]]:
        """Return (row, column, number) of the most frequent confusions between two classes, the largest
        first."""
        between = self.table[:-1, :-1].copy()
        np.fill_diagonal(between, 0)
        order = np.argsort(-between, axis=None, kind='stable')[:count]
        rows, columns = np.unravel_index(order, between.shape)
        return [
            (int(row), int(column), int(between[row, column]))
            for row, column in zip(rows, columns)
            if between[row, column]
        ]


def confusion(matches: Matches, score: float) -> Confusion:
    """Count confusions.

    A detection and an object of the same class are paired as COCOeval does it at an IoU of 0.5; what is left
    is paired across classes by the largest IoU, from 0.5. Detections on crowds are left out.

    Args:
        matches: the run.
        score: detections with at least this score count.
    """
    found, objects, classes = matches.detections, matches.objects, matches.precision.shape[2]
    table = np.zeros((classes + 1, classes + 1), np.int64)
    kept = found.scores >= score - 1e-9
    true = found.classes[kept & found.is_true]
    table[:classes, :classes] += np.diag(np.bincount(true, minlength=classes))
    by_image = {}
    for number in np.flatnonzero(kept & found.is_false):
        by_image.setdefault(int(found.images[number]), ([], []))[0].append(number)
    for number in np.flatnonzero(missed(matches, score)):
        by_image.setdefault(int(objects.images[number]), ([], []))[1].append(number)
    for wrong, lost in by_image.values():
        pairs = _pair(found.boxes[wrong], objects.boxes[lost])
        for first, second in pairs:
            table[objects.classes[lost[second]], found.classes[wrong[first]]] += 1
        alone = set(range(len(wrong))) - {first for first, _ in pairs}
        for first in alone:
            table[classes, found.classes[wrong[first]]] += 1
        alone = set(range(len(lost))) - {second for _, second in pairs}
        for second in alone:
            table[objects.classes[lost[second]], classes] += 1
    return Confusion(table, score)


def missed(matches: Matches, score: float) -> np.ndarray:
    """bool [objects]: not found by a detection with at least this score."""
    found_by = matches.objects.found_by
    scores = np.append(matches.detections.scores, -1.0)  # -1 is the last
    return scores[found_by] < score - 1e-9


def _pair(boxes: np.ndarray, others: np.ndarray) -> List[Tuple[int, int]]:
    """Pair boxes with others, the largest IoU first; return the positions of those from an IoU of 0.5."""
    pairs: List[Tuple[int, int]] = []
    if len(boxes) == 0 or len(others) == 0:
        return pairs
    iou = np.array(mask.iou(boxes, others, [0] * len(others)))
    while True:
        row, column = np.unravel_index(int(iou.argmax()), iou.shape)
        if iou[row, column] < IOU:
            return pairs
        pairs.append((int(row), int(column)))
        iou[row, :] = iou[:, column] = -1
