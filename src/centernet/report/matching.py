"""Boxes x, y, width, height: their overlaps, and pairs of those that overlap."""

import numpy as np
from pycocotools import mask

#: Boxes that overlap by this IoU or more can be a pair.
IOU = 0.5


def box_iou(boxes: np.ndarray, others: np.ndarray, is_crowd: bool = False) -> np.ndarray:
    """float64 [n, m]: COCO's IoU; with crowds as the others, the share of the box inside."""
    if not (len(boxes) and len(others)):
        return np.zeros((len(boxes), len(others)))
    return np.asarray(mask.iou(boxes, others, [int(is_crowd)] * len(others)))


def pair(iou: np.ndarray, largest_first: bool = False) -> np.ndarray:
    """Pair rows with columns, one with one, from an IoU of 0.5.

    Args:
        iou: float64 [n, m].
        largest_first: whether the pair that overlaps most is made first; otherwise the first row chooses
            first.

    Returns:
        int64 [n]: the column of each row, -1 for none.
    """
    rows, columns = np.nonzero(iou >= IOU)
    overlaps = iou[rows, columns]
    order = np.argsort(-overlaps, kind='stable') if largest_first else np.lexsort((-overlaps, rows))
    partner, is_free = np.full(len(iou), -1), np.ones(iou.shape[1], bool)
    for row, column in zip(rows[order].tolist(), columns[order].tolist()):
        if partner[row] < 0 and is_free[column]:
            partner[row], is_free[column] = column, False
    return partner
