"""Soft non-maximum suppression with Gaussian decay.

Bodla et al., "Soft-NMS: improving object detection with one line of code", 2017.
"""

from typing import Tuple

import numpy as np


def soft_nms(
    boxes: np.ndarray, scores: np.ndarray, sigma: float = 0.5, threshold: float = 0.001
) -> Tuple[np.ndarray, np.ndarray]:
    """Lower the scores of boxes that overlap a better box of the same class.

    Boxes are closed pixel ranges (width x2 - x1 + 1), as in the published code.

    The routine behind CenterNet's published multi-scale metrics works in place on an array of rows. It
    discards a row by copying the last row over it and shortening the array by one, but its caller ignores the
    new length. The array therefore keeps its n rows: after the survivors come copies of rows that were moved
    forward, each with the score from *before* the selection that moved it. Such duplicates can reach the 100
    detections of an image, and the metrics cannot be reproduced without them. This function returns the same
    array, row by row, with the same rounding.

    Args:
        boxes: float32 [n, 4], x1, y1, x2, y2 in pixels, all of one class.
        scores: float32 [n].
        sigma: a box with IoU v with the selected box has its score multiplied by exp(-v * v / sigma).
        threshold: a box is discarded when its decayed score falls below this.

    Returns:
        int64 [n], the indices of the boxes in the order of selection, and float32 [n], their decayed scores.
        **Discarded rows are included**, see above.
    """
    count = len(scores)
    index = np.arange(count)
    scores = np.array(scores, dtype=np.float32)
    threshold = np.float32(threshold)
    weights, overlaps = _pairwise(np.asarray(boxes, dtype=np.float32), np.float32(sigma))
    end = count
    for place in range(count):
        if place + 1 >= end:
            break
        best = place + np.argmax(scores[place:end])
        index[[place, best]] = index[[best, place]]
        scores[[place, best]] = scores[[best, place]]
        rest, old = index[place + 1 : end], scores[place + 1 : end]
        new = weights[index[place], rest] * old
        discarded = new < threshold
        if discarded.any():
            discarded &= overlaps[index[place], rest]
        if discarded.any():
            end = place + 1 + _discard(rest, old, new, discarded)
        else:
            old[:] = new
    return index, scores


def _pairwise(boxes, sigma):
    """Return the decay of each box (column) by each selected box (row), and whether the two overlap.

    float32 [n, n], 1 for disjoint boxes, and bool [n, n].
    """
    x1, y1, x2, y2 = boxes.T
    # The published routine adds 1 in float64 and rounds to float32 at every assignment; the area of the
    # selected box is never assigned.
    exact_area = ((x2 - x1).astype(np.float64) + 1) * ((y2 - y1).astype(np.float64) + 1)
    area = exact_area.astype(np.float32)
    width = np.minimum(x2, x2[:, np.newaxis]) - np.maximum(x1, x1[:, np.newaxis]) + 1
    height = np.minimum(y2, y2[:, np.newaxis]) - np.maximum(y1, y1[:, np.newaxis]) + 1
    overlaps = (width > 0) & (height > 0)
    pick, other = np.nonzero(overlaps)
    shared = width[pick, other] * height[pick, other]
    union = (exact_area[pick] + area[other] - shared).astype(np.float32)
    iou = shared / union
    weights = np.ones(overlaps.shape, dtype=np.float32)
    weights[pick, other] = np.exp((-(iou * iou) / sigma).astype(np.float64))
    return weights, overlaps


def _discard(rows, old, new, discarded):
    """Discard rows in place, in one step, with the result of discarding row by row; return how many survive.

    Row by row, from the front: a discarded row is replaced by the last one, which is then examined in its
    place, and the array ends one row earlier. So survivors from the back fill the gaps in the front, the last
    survivor the first gap, and the rows after the survivors stay as they were before this selection. There is
    one exception: discarded rows that remain after the last gap is filled replace each other in the first
    place after the survivors, and the last one examined leaves its decayed score there.
    """
    kept = np.flatnonzero(~discarded)
    end = len(kept)
    gaps = np.flatnonzero(discarded[:end])
    fillers = kept[end - len(gaps) :][::-1]
    last = None
    if discarded[end]:
        left_over = (fillers[-1] if len(gaps) else len(rows)) - end
        last = end + 1 if left_over > 1 else end
        last = rows[last], new[last]
    filled = rows[fillers], new[fillers]
    old[:end] = new[:end]
    rows[gaps], old[gaps] = filled
    if last is not None:
        rows[end], old[end] = last
    return end
