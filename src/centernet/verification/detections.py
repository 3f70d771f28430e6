"""The second stage: the boxes that come of the two networks' heads, matched one to one."""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch

from ..detection import Geometry, Heads, RawBoxes, decode, postprocess
from . import tolerances
from .heads import Figures

#: detections per image, as the evaluation takes them
_BEST = 100


class Unmatched(NamedTuple):
    """A detection of one network that the other does not have.

    ``side``: ``reference`` or ``model``. ``box``: x1, y1, x2, y2 in image pixels. ``undecided``: the two
    agree about this cell within the tolerance, but it is so close to its neighbour, or to the last of the
    best hundred, that either answer is right.
    """

    image_id: int
    side: str
    class_index: int
    score: float
    box: Tuple[float, float, float, float]
    undecided: bool


class DetectionsComparison(NamedTuple):
    """The detections of some images; true where all are matched, with the same scores, or undecided.

    ``score``: of the differences of matched scores. ``iou``: the least and the mean IoU of matched boxes.
    """

    images: int
    reference: int
    model: int
    matched: int
    score: Figures
    least_iou: Optional[float]
    mean_iou: Optional[float]
    unmatched: List[Unmatched]

    @property
    def missing(self) -> List[Unmatched]:
        """The unmatched ones that count."""
        return [item for item in self.unmatched if not item.undecided]

    def __bool__(self) -> bool:
        return self.matched > 0 and not self.missing and self.score.max <= tolerances.SCORE.limit


def compare_detections(
    batches: Sequence[Tuple[Heads, Heads, Sequence[Geometry], Sequence[int], Optional[RawBoxes]]],
) -> DetectionsComparison:
    """Decode both networks' heads and match their detections: same class, greedily by score, the box with the
    largest IoU.

    Args:
        batches: for each batch the reference's heads, the model's heads, of every image the Geometry and the
            id, and the RawBoxes that the model's own decoder gave, None where it has none.

    Returns:
        DetectionsComparison.
    """
    scores, ious, unmatched, counts = [], [], [], [0, 0, 0]
    for reference, model, geometries, image_ids, own in batches:
        best = _BEST if own is None else own.scores.shape[1]
        sides = [
            _Side(reference, decode(reference, k=best), geometries),
            _Side(model, decode(model, k=best) if own is None else own, geometries, own is not None),
        ]
        for index, image_id in enumerate(image_ids):
            pairs = _match(sides[0].of(index), sides[1].of(index))
            counts = [
                total + more
                for total, more in zip(counts, (1, len(sides[0].scores[index]), len(sides[1].scores[index])))
            ]
            scores += [abs(sides[0].scores[index][i] - sides[1].scores[index][j]) for i, j, _ in pairs]
            ious += [iou for _, _, iou in pairs]
            unmatched += _left_over(sides, pairs, index, image_id)
    return DetectionsComparison(
        counts[0],
        counts[1],
        counts[2],
        len(scores),
        Figures.of(scores),
        float(min(ious)) if ious else None,
        float(np.mean(ious)) if ious else None,
        unmatched,
    )


class _Side:
    """One network's heads and the detections that come of them, as numpy arrays with an axis of images in
    front.

    ``own``: the detections are those of the file's decoder.
    """

    def __init__(self, heads, raw, geometries, own=False):
        self.own = own
        self.probabilities = torch.sigmoid(heads.hm.detach().cpu().float()).numpy()
        self.size, self.offset = (part.detach().cpu().float().numpy() for part in (heads.wh, heads.reg))
        self.boxes, self.scores, self.classes = (part.cpu().numpy() for part in raw)
        self.pixels = postprocess(raw, geometries)

    def of(self, index):
        return self.boxes[index], self.scores[index], self.classes[index]

    def all_boxes(self, index):
        """The box of every cell, [h * w, 4]."""
        height, width = self.size.shape[2:]
        y, x = np.mgrid[:height, :width].astype(np.float32)
        x, y = x + self.offset[index, 0], y + self.offset[index, 1]
        half_width, half_height = self.size[index] / 2
        return np.stack([x - half_width, y - half_height, x + half_width, y + half_height], -1).reshape(-1, 4)


def _match(ours, others):
    """(index here, index there, IoU) of the detections that are the same."""
    boxes, _, classes = ours
    free = np.ones(len(others[1]), bool)
    pairs = []
    for i in range(len(boxes)):  # by falling score
        candidates = np.flatnonzero(free & (others[2] == classes[i]))
        if not len(candidates):
            continue
        iou, same = _overlap(boxes[i], others[0][candidates])
        if same.any():
            best = int(np.argmax(np.where(same, iou, -1)))
            free[candidates[best]] = False
            pairs.append((i, int(candidates[best]), float(iou[best])))
    return pairs


def _overlap(box, boxes):
    """(IoU, whether they are the same) of one box with several, in output cells.

    A box of negative size, as untrained networks give them, is compared by the area between its corners, and
    only with boxes that are turned the same way. A box with hardly any area has IoU 1 with its twin.
    """
    box, boxes = box.astype(np.float64), boxes.astype(np.float64)
    near = np.abs(boxes - box).max(axis=1) <= tolerances.CORNER.limit
    turned = (np.sign(boxes[:, 2:] - boxes[:, :2]) == np.sign(box[2:] - box[:2])).all(axis=1)
    low, lows = (np.minimum(item[..., :2], item[..., 2:]) for item in (box, boxes))
    high, highs = (np.maximum(item[..., :2], item[..., 2:]) for item in (box, boxes))
    shared = np.clip(np.minimum(high, highs) - np.maximum(low, lows), 0, None).prod(axis=1)
    union = (high - low).prod() + (highs - lows).prod(axis=1) - shared
    iou = np.where(near & (shared < 1e-2), 1.0, turned * shared / np.where(union > 0, union, 1))
    return iou, near | (iou >= tolerances.IOU.limit)


def _left_over(sides, pairs, index, image_id):
    """The Unmatched of an image.

    A detection that one side has as a tie, and the other has not, makes room for another at the end of that
    side's list; so as many of those are undecided as there are ties.
    """
    moved = float(np.abs(sides[0].probabilities[index] - sides[1].probabilities[index]).max())
    tie = min(tolerances.TIE.limit, 2 * moved) + 1e-7
    found, next_in_line = [[], []], [[], []]
    for number, name in enumerate(('reference', 'model')):
        taken = {pair[number] for pair in pairs}
        for place in range(len(sides[number].scores[index])):
            if place not in taken:
                verdict = _verdict(sides[number], sides[1 - number], index, place, tie)
                if verdict == 'next in line':
                    next_in_line[number].append(len(found[number]))
                box = tuple(round(float(value), 2) for value in sides[number].pixels[index][place, :4])
                found[number].append(
                    Unmatched(
                        int(image_id),
                        name,
                        int(sides[number].classes[index][place]),
                        float(sides[number].scores[index][place]),
                        box,
                        verdict == 'tie',
                    )
                )
    ties = [sum(item.undecided for item in items) for items in found]
    for number in (0, 1):
        for place in next_in_line[number][: max(0, ties[1 - number] - ties[number])]:  # by falling score
            found[number][place] = found[number][place]._replace(undecided=True)
    return found[0] + found[1]


def _verdict(side, other, index, place, tie):
    """Why ``other`` may lack a detection of ``side``: ``tie``, ``next in line`` (a peak that is right behind
    its best), or None."""
    class_index, score = int(side.classes[index][place]), float(side.scores[index][place])
    if (
        not 0 <= class_index < side.probabilities.shape[1]
    ):  # a decoder of the file's own can be wrong in any way
        return None
    # What the two networks say at the cell that this detection comes of.
    cell = int(np.abs(side.all_boxes(index) - side.boxes[index][place]).max(axis=1).argmin())
    ours, others = (part.probabilities[index, class_index] for part in (side, other))
    theirs = float(others.ravel()[cell])
    agree = (
        max(abs(float(ours.ravel()[cell]) - theirs), abs(score - theirs)) <= tolerances.SCORE.limit
        and _overlap(side.boxes[index][place], other.all_boxes(index)[cell : cell + 1])[1][0]
    )
    lead, ahead = theirs - _highest_neighbour(others, cell), theirs - float(other.scores[index][-1])
    if not agree or lead < -tie:
        return None
    if ahead < -tie:
        return 'next in line'
    # A cell that just loses to its neighbour, a peak that just misses the best, or, where the file has a
    # decoder (whose sigmoid rounds in its own way), a peak that hardly leads.
    return 'tie' if lead < 0 or ahead <= tie or (lead <= tie and (side.own or other.own)) else None


def _highest_neighbour(heat, cell):
    """The highest of the eight neighbours of a cell (row * width + column)."""
    row, column = divmod(cell, heat.shape[1])
    patch = heat[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].copy()
    patch[min(row, 1), min(column, 1)] = -np.inf
    return float(patch.max())
