"""Soft non-maximum suppression with gaussian decay (Bodla et al., "Soft-NMS: improving object detection with
one line of code", 2017)."""

import numpy as np


def soft_nms(boxes, scores, sigma=0.5, threshold=0.001):
    """Lowers the score of boxes that overlap a better box of the same class.

    Args:
        boxes: float32 [n, 4]: x1, y1, x2, y2 in pixels, of one class.
        scores: float32 [n].
        sigma: a box that overlaps the picked one with an IoU of v has its score multiplied by exp(-v * v /
            sigma).
        threshold: a box is discarded when its decayed score falls below this.

    Returns:
        ``(index int64 [n], scores float32 [n])``: ``boxes[index]`` are the boxes in the order in which they
        were picked, with their decayed scores. **n rows come back, discarded ones included**, see below.

    Boxes count as closed pixel ranges (width x2 - x1 + 1), as in the published code.

    The routine that CenterNet's published multi-scale figures were made with works in place on an array of
    rows. It discards a row by copying the array's last row over it and shortening the array by one, but its
    caller ignores the new length. So the array keeps its n rows, and behind the survivors lie copies of rows
    that were moved forward, each with the score it had *before* the pick that moved it. Such a duplicate can
    reach the 100 detections of an image, so the figures cannot be reproduced without it: the result here is
        the same array, row by row. It rounds as that routine does, too.
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
    """Decay float32 [n, n] of each box (column) by each pick (row), 1 for boxes apart; and whether the two
    overlap, bool [n, n]."""
    x1, y1, x2, y2 = boxes.T
    # The published routine adds 1 in float64 and rounds to float32 wherever it assigns; the area of the pick
    # is never assigned.
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
    """Does in one step, in place, what discarding row by row leaves behind; returns how many rows survive.

    Row by row means: go forward; a discarded row is replaced by the last one, which then has its turn in that
        place, and the
    array ends one row earlier. So the survivors from behind fill the gaps in front, the last survivor the
    first gap, and everything behind the survivors stays as it was before this pick. There is one exception.
    If discarded rows are left when the last gap has been filled, they replace each other in the first place
    behind the survivors, and the last to have its turn there leaves its decayed score.
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
