"""Stage ``detections``: decode the heads of two networks, and match the boxes one to one."""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch

from ..detection import Geometry, Heads, RawBoxes, decode, postprocess
from ..detection.decode import boxes_at
from . import tolerances
from .heads import Figures

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


class DetectionsComparison(NamedTuple):
    """The detections of some images; true if all are matched, with the same scores, or undecided.

    Attributes:
        images: number of images.
        reference, model, matched: number of detections.
        score: differences of the matched scores.
        least_iou, mean_iou: of the matched boxes; None if there are none.
        unmatched: detections of either network without a match.
        limits: for the scores, and those by which detections were matched.
        allowed: how many may be missing.
    """

    images: int
    reference: int
    model: int
    matched: int
    score: Figures
    least_iou: Optional[float]
    mean_iou: Optional[float]
    unmatched: List[Unmatched]
    limits: tolerances.Limits = tolerances.FLOAT32
    allowed: int = 0

    @property
    def missing(self) -> List[Unmatched]:
        """The unmatched detections that are not undecided."""
        return [item for item in self.unmatched if not item.undecided]

    def __bool__(self) -> bool:
        return self.matched > 0 and len(self.missing) <= self.allowed and self.score.max <= self.limits.score


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
) -> DetectionsComparison:
    """Decode the heads of both networks and match their detections.

    Detections are matched greedily by descending score: same class, highest IoU.

    Args:
        batches: of the same images.
        limits: how much boxes and scores may differ.
    """
    images, found, scores, ious, unmatched = 0, [0, 0], [], [], []
    for batch in batches:
        k = _BEST if batch.boxes is None else batch.boxes.scores.shape[1]
        raw = decode(batch.model, k=k) if batch.boxes is None else batch.boxes
        ours = _Side(batch.reference, decode(batch.reference, k=k), batch.geometries)
        others = _Side(batch.model, raw, batch.geometries, own=batch.boxes is not None)
        for index, image_id in enumerate(batch.image_ids):
            pairs = _match(ours.of(index), others.of(index), limits)
            images += 1
            found[0] += len(ours.scores[index])
            found[1] += len(others.scores[index])
            scores += [abs(ours.scores[index][i] - others.scores[index][j]) for i, j, _ in pairs]
            ious += [iou for _, _, iou in pairs]
            unmatched += _left_over((ours, others), pairs, index, image_id, limits)
    return DetectionsComparison(
        images=images,
        reference=found[0],
        model=found[1],
        matched=len(scores),
        score=Figures.of(scores),
        least_iou=float(min(ious)) if ious else None,
        mean_iou=float(np.mean(ious)) if ious else None,
        unmatched=unmatched,
        limits=limits,
        allowed=int(limits.missing * found[0]),
    )


class _Side:
    """One network's heads and detections as numpy arrays, whose first axis is the image.

    ``own``: the detections come from the file's own decoder.
    """

    def __init__(self, heads, raw, geometries, own=False):
        self.own = own
        self.probabilities = torch.sigmoid(heads.hm.detach().cpu().float()).numpy()
        self.heads = heads
        self.boxes, self.scores, self.classes = (part.cpu().numpy() for part in raw)
        self.pixels = postprocess(raw, geometries)

    def of(self, index):
        return self.boxes[index], self.scores[index], self.classes[index]

    def all_boxes(self, index, class_index):
        """Return the box of a class in every cell, [h * w, 4]."""
        alone = Heads(*(part if part is None else part[index : index + 1] for part in self.heads))
        cells = torch.arange(alone.hm.shape[2] * alone.hm.shape[3], device=alone.hm.device).unsqueeze(0)
        return boxes_at(alone, torch.full_like(cells, class_index), cells)[0].detach().cpu().numpy()


def _match(ours, others, limits):
    """Return (index here, index there, IoU) of the matching detections."""
    boxes, _, classes = ours
    free = np.ones(len(others[1]), bool)
    pairs = []
    for i in range(len(boxes)):  # sorted by score
        candidates = np.flatnonzero(free & (others[2] == classes[i]))
        if not len(candidates):
            continue
        iou, same = _overlap(boxes[i], others[0][candidates], limits)
        if same.any():
            best = int(np.argmax(np.where(same, iou, -1)))
            free[candidates[best]] = False
            pairs.append((i, int(candidates[best]), float(iou[best])))
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
    found, next_in_line = [[], []], [[], []]
    for number, name in enumerate(('reference', 'model')):
        taken = {pair[number] for pair in pairs}
        for place in range(len(sides[number].scores[index])):
            if place not in taken:
                side = sides[number]
                verdict = _verdict(side, sides[1 - number], index, place, tie, limits)
                if verdict == 'next in line':
                    next_in_line[number].append(len(found[number]))
                found[number].append(
                    Unmatched(
                        image_id=int(image_id),
                        side=name,
                        class_index=int(side.classes[index][place]),
                        score=float(side.scores[index][place]),
                        box=tuple(round(float(value), 2) for value in side.pixels[index][place, :4]),
                        undecided=verdict == 'tie',
                    )
                )
    ties = [sum(item.undecided for item in items) for items in found]
    for number in (0, 1):
        for place in next_in_line[number][: max(0, ties[1 - number] - ties[number])]:  # sorted by score
            found[number][place] = found[number][place]._replace(undecided=True)
    return found[0] + found[1]


def _verdict(side, other, index, place, tie, limits):
    """Return why ``other`` may lack a detection of ``side``.

    ``tie``, ``next in line`` (a peak just below the best ones), or None.
    """
    class_index, score = int(side.classes[index][place]), float(side.scores[index][place])
    if not 0 <= class_index < side.probabilities.shape[1]:  # from a wrong decoder in the file
        return None
    # The values of the two networks in the cell of this detection.
    cell = int(np.abs(side.all_boxes(index, class_index) - side.boxes[index][place]).max(axis=1).argmin())
    ours, others = (part.probabilities[index, class_index] for part in (side, other))
    theirs = float(others.ravel()[cell])
    agree = (
        max(abs(float(ours.ravel()[cell]) - theirs), abs(score - theirs)) <= limits.score
        and _overlap(side.boxes[index][place], other.all_boxes(index, class_index)[cell : cell + 1], limits)[
            1
        ][0]
    )
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
