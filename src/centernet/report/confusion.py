"""Which classes are taken for which."""

from typing import List, Tuple

import numpy as np

from .matches import Matches
from .matching import box_iou, pair


def confusion(matches: Matches, score: float) -> np.ndarray:
    """Count how often an object was detected as a class.

    A detection and an object of the same class are paired as COCOeval does it at an IoU of 0.5; what is left
    is paired across classes by the largest IoU, from 0.5. Detections on crowds are left out.

    Args:
        matches: the run.
        score: detections with at least this score count.

    Returns:
        int64 [classes + 1, classes + 1]. The rows are the classes of the objects; the last one has the
        detections where no object is. The columns are the classes of the detections; the last one has the
        objects that were not found.
    """
    detections, objects, nothing = matches.detections, matches.objects, len(matches.positives)
    true, false, missed = matches.verdicts(score)
    annotated = np.where(true, detections.classes, nothing)
    left = (detections.by_image(matches.image_ids, false), objects.by_image(matches.image_ids, missed))
    for wrong, lost in zip(*left):
        partner = pair(box_iou(detections.boxes[wrong], objects.boxes[lost]), largest_first=True)
        taken = lost[partner[partner >= 0]]
        annotated[wrong[partner >= 0]] = objects.classes[taken]
        missed[taken] = False
    table = np.zeros((nothing + 1, nothing + 1), np.int64)
    counts = true | false
    np.add.at(table, (annotated[counts], detections.classes[counts]), 1)
    np.add.at(table, (objects.classes[missed], nothing), 1)
    return table


def most_confused(table: np.ndarray, count: int) -> List[Tuple[int, int, int]]:
    """Return (row, column, number) of the most frequent confusions between two classes, the largest first."""
    between = table[:-1, :-1] * (1 - np.eye(len(table) - 1, dtype=np.int64))
    order = np.argsort(-between, axis=None, kind='stable')[:count]
    places = zip(*np.unravel_index(order, between.shape))
    return [(row, column, between[row, column]) for row, column in places if between[row, column]]
