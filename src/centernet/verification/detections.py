"""Stage ``detections``: decode the heads of two networks, and match the boxes one to one."""

from typing import NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch

from ..detection import Geometry, Heads, RawBoxes, decode, postprocess
from ..detection.decode import boxes_at
from . import tolerances
from .heads import statistics
from .stages import Check, Stage, at_most

#: detections per image, as in the evaluation
_BEST = 100


class Unmatched(NamedTuple):
    """A detection that only one network has.

    Attributes:
        side: ``reference`` or ``model``.
        box: x1, y1, x2, y2 in image pixels.
        undecided: the networks agree on this cell within the tolerance, but its score is so close to its
            neighbour's, or to the last of the best hundred, that either result is correct.
    """

    image_id: int
    side: str
    class_index: int
    score: float
    box: Tuple[float, float, float, float]
    undecided: bool


class ComparedBatch(NamedTuple):
    """One batch of images and what two networks make of it.

    Attributes:
        reference, model: the heads of the two networks.
        geometries, image_ids: of each image.
        boxes: from the decoder inside the model's file; None if it has none.
    """

    reference: Heads
    model: Heads
    geometries: Sequence[Geometry]
    image_ids: Sequence[int]
    boxes: Optional[RawBoxes] = None


def compare_detections(
    batches: Sequence[ComparedBatch], limits: tolerances.Limits = tolerances.FLOAT32
) -> Stage:
    """Decode the heads of both networks and match their detections.

    Detections are matched greedily by descending score: same class, highest IoU.

    Args:
        batches: of the same images.
        limits: how much boxes and scores may differ.

    Returns:
        A Stage that passes if all are matched, with the same scores, or undecided. Its facts: ``images``, how
        many; ``reference``, ``model`` and ``matched``, numbers of detections; ``score``,
        :func:`~.heads.statistics` of the differences of the matched scores; ``least_iou`` and ``mean_iou`` of
        the matched boxes, None if there are none; ``unmatched``, a list of Unmatched; ``limits``; and
        ``allowed``, how many may be missing.
    """
    images, totals, scores, ious, unmatched = 0, [0, 0], [], [], []
    for batch in batches:
        k = _BEST if batch.boxes is None else batch.boxes.scores.shape[1]
        raw = decode(batch.model, k=k) if batch.boxes is None else batch.boxes
        ours = _Side('reference', batch.reference, decode(batch.reference, k=k), batch.geometries)
        others = _Side('model', batch.model, raw, batch.geometries, own=batch.boxes is not None)
        for index, image_id in enumerate(batch.image_ids):
            pairs = _match(ours, others, index, limits)
            images += 1
            for number, side in enumerate((ours, others)):
                totals[number] += len(side.scores[index])
            scores += [abs(ours.scores[index][i] - others.scores[index][j]) for i, j, _ in pairs]
            ious += [iou for _, _, iou in pairs]
            unmatched += _left_over((ours, others), pairs, index, int(image_id), limits)
    facts = {
        'images': images,
        'reference': totals[0],
        'model': totals[1],
        'matched': len(scores),
        'score': statistics(scores),
        'least_iou': float(min(ious)) if ious else None,
        'mean_iou': float(np.mean(ious)) if ious else None,
        'unmatched': unmatched,
        'limits': limits,
        'allowed': int(limits.missing * totals[0]),
    }
    checks = [
        Check('matched', len(scores), 1, bool(scores)),
        at_most('missing', sum(not item.undecided for item in unmatched), facts['allowed']),
        at_most('score', facts['score']['max'], limits.score),
    ]
    return Stage('detections', checks, facts)


class _Side:
    """One network's heads and detections as numpy arrays, whose first axis is the image.

    ``own``: the detections come from the file's own decoder.
    """

    def __init__(self, name, heads, raw, geometries, own=False):
        self.name, self.heads, self.own = name, heads, own
        self.probabilities = torch.sigmoid(heads.hm.detach().cpu().float()).numpy()
        self.boxes, self.scores, self.classes = (part.cpu().numpy() for part in raw)
        self.pixels = postprocess(raw, geometries)

    def all_boxes(self, index, class_index):
        """Return the box of a class in every cell, [h * w, 4]."""
        alone = Heads(*(part if part is None else part[index : index + 1] for part in self.heads))
        cells = torch.arange(alone.hm.shape[2] * alone.hm.shape[3], device=alone.hm.device).unsqueeze(0)
        return boxes_at(alone, torch.full_like(cells, class_index), cells)[0].detach().cpu().numpy()


def _match(ours, others, index, limits):
    """Return (index here, index there, IoU) of the matching detections of an image."""
    free, pairs = np.ones(len(others.scores[index]), bool), []
    for i, (box, class_index) in enumerate(zip(ours.boxes[index], ours.classes[index])):  # sorted by score
        iou, same = _overlap(box, others.boxes[index], limits)
        same &= free & (others.classes[index] == class_index)
        if same.any():
            best = int(np.argmax(np.where(same, iou, -1)))
            free[best] = False
            pairs.append((i, best, float(iou[best])))
    return pairs


def _overlap(box, boxes, limits):
    """Return the IoU of one box with several, in output cells, and whether they match.

    Boxes of negative size, which untrained networks produce, are compared by the area between their corners,
    and only with boxes of the same orientation. A box with almost no area has IoU 1 with its twin.
    """
    box, boxes = box.astype(np.float64), boxes.astype(np.float64)
    near = np.abs(boxes - box).max(axis=1) <= limits.corner
    turned = (np.sign(boxes[:, 2:] - boxes[:, :2]) == np.sign(box[2:] - box[:2])).all(axis=1)
    low, lows = (np.minimum(item[..., :2], item[..., 2:]) for item in (box, boxes))
    high, highs = (np.maximum(item[..., :2], item[..., 2:]) for item in (box, boxes))
    shared = np.clip(np.minimum(high, highs) - np.maximum(low, lows), 0, None).prod(axis=1)
    union = (high - low).prod() + (highs - lows).prod(axis=1) - shared
    iou = np.where(near & (shared < 1e-2), 1.0, turned * shared / np.where(union > 0, union, 1))
    return iou, near | (iou >= limits.iou)


def _left_over(sides, pairs, index, image_id, limits):
    """Return the Unmatched of an image.

    If one side lacks a detection because of a tie, another one takes its place at the end of that side's
    list. So as many of these are undecided as there are ties.
    """
    moved = float(np.abs(sides[0].probabilities[index] - sides[1].probabilities[index]).max())
    tie = min(limits.tie, 2 * moved) + 1e-7
    left, waiting = ([], []), ([], [])
    for number, side in enumerate(sides):
        matched = {pair[number] for pair in pairs}
        for place in (place for place in range(len(side.scores[index])) if place not in matched):
            verdict = _verdict(side, sides[1 - number], index, place, tie, limits)
            if verdict == 'next in line':
                waiting[number].append(len(left[number]))
            left[number].append(
                Unmatched(
                    image_id,
                    side.name,
                    int(side.classes[index][place]),
                    float(side.scores[index][place]),
                    tuple(round(float(value), 2) for value in side.pixels[index][place, :4]),
                    undecided=verdict == 'tie',
                )
            )
    ties = [sum(item.undecided for item in items) for items in left]
    for number in (0, 1):
        for place in waiting[number][: max(0, ties[1 - number] - ties[number])]:  # sorted by score
            left[number][place] = left[number][place]._replace(undecided=True)
    return left[0] + left[1]


def _verdict(side, other, index, place, tie, limits):
    """Return why ``other`` may lack a detection of ``side``.

    ``tie``, ``next in line`` (a peak just below the best ones), or None.
    """
    class_index, score = int(side.classes[index][place]), float(side.scores[index][place])
    if not 0 <= class_index < side.probabilities.shape[1]:  # from a wrong decoder in the file
        return None
    # The values of the two networks in the cell of this detection.
    box = side.boxes[index][place]
    cell = int(np.abs(side.all_boxes(index, class_index) - box).max(axis=1).argmin())
    ours, others = (part.probabilities[index, class_index] for part in (side, other))
    theirs = float(others.ravel()[cell])
    near = max(abs(float(ours.ravel()[cell]) - theirs), abs(score - theirs)) <= limits.score
    agree = near and _overlap(box, other.all_boxes(index, class_index)[cell : cell + 1], limits)[1].all()
    lead, ahead = theirs - _highest_neighbour(others, cell), theirs - float(other.scores[index][-1])
    if not agree or lead < -tie:
        return None
    if ahead < -tie:
        return 'next in line'
    # A cell just below its neighbour, a peak just below the best hundred, or, if the file has a decoder
    # (whose sigmoid may round differently), a peak barely above its neighbours.
    return 'tie' if lead < 0 or ahead <= tie or (lead <= tie and (side.own or other.own)) else None


def _highest_neighbour(heat, cell):
    """Return the highest of the eight neighbours of a cell (row * width + column)."""
    row, column = divmod(cell, heat.shape[1])
    patch = heat[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].copy()
    patch[min(row, 1), min(column, 1)] = -np.inf
    return float(patch.max())
