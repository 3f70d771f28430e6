"""What keeps AP50 from 100: the six kinds of errors of TIDE.

Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors" (2020): every false detection
and every object that was not found has one error, and an error weighs what AP50 gains when all of its kind
are repaired. The values are those of the authors' tidecv 1.0.1, the order of equal scores included.
"""

from typing import Dict, NamedTuple, Tuple

import numpy as np

from .matches import Boxes, Matches
from .matching import IOU, box_iou, pair

#: an overlap of at most this IoU is none
_BACKGROUND = 0.1
#: name -> what it means, in the order of the paper
KINDS = {
    'classification': 'well placed, but of another class',
    'localization': 'of the right class, but badly placed (IoU 0.1 to 0.5)',
    'both': 'neither the class nor the place is right',
    'duplicate': 'of an object that a higher score has found',
    'background': 'where nothing is (IoU below 0.1)',
    'missed': 'objects that no detection could be repaired to find',
}
_CLASSIFICATION, _LOCALIZATION, _BOTH, _DUPLICATE, _NOTHING_THERE = range(5)
#: detections of an image that count
_MOST = 100


class ErrorWeights(NamedTuple):
    """``ap50``: in percent, as tidecv computes it. ``weights``: by the names in :data:`KINDS`, what AP50
    gains if they are repaired, in percent. ``counts``: how many there are."""

    ap50: float
    weights: Dict[str, float]
    counts: Dict[str, int]


def error_weights(matches: Matches) -> ErrorWeights:
    """Sort the errors on images into kinds, and weigh them."""
    positives, parts = matches.positives, []
    missed = np.zeros_like(positives)
    tables = (matches.detections, matches.objects)
    for places in zip(*(table.by_image(matches.image_ids, table.classes >= 0) for table in tables)):
        part, classes = _sort_image(*(table.take(place) for table, place in zip(tables, places)))
        parts.append(part)
        np.add.at(missed, classes, 1)
    classes, scores, is_true, ignored, kinds, repaired = map(np.concatenate, zip(*parts))
    before = _mean_ap(classes[~ignored], scores[~ignored], is_true[~ignored], positives)
    weights, counts = {}, {}
    for kind, name in enumerate(KINDS):
        chosen = ~is_true & (kinds == kind)
        is_repaired = chosen & (repaired >= 0)
        kept = np.flatnonzero(~is_true & np.where(chosen, is_repaired, ~ignored))
        order = np.concatenate([kept, np.flatnonzero(is_true)])  # as tidecv ranks equal scores
        left = positives - missed if name == 'missed' else positives
        new_classes, is_right = np.where(is_repaired, repaired, classes), is_true | is_repaired
        after = _mean_ap(new_classes[order], scores[order], is_right[order], left)
        weights[name] = max(after - before, 0.0)
        counts[name] = int(missed.sum() if name == 'missed' else (chosen & ~ignored).sum())
    return ErrorWeights(before, weights, counts)


def _sort_image(found: Boxes, truth: Boxes) -> Tuple[Tuple[np.ndarray, ...], np.ndarray]:
    """Find the errors of one image, from its detections and objects.

    Returns:
        Of its n detections, the highest score first: their classes; scores; whether they are true; whether a
        crowd covers them; the positions in :data:`KINDS` of the errors that they are unless they are true;
        and the class that each would find an object of, were it repaired, -1 for none. Then the classes of
        the objects that are missed.
    """
    _, classes, boxes, scores, _ = found.take(slice(_MOST))
    wanted, crowds = truth.take(~truth.ignored), truth.take(truth.ignored)
    # one more object that nothing overlaps: whoever is about no object, is about the last
    objects = np.append(wanted.classes, -1)
    iou = np.zeros((len(classes), len(objects)))
    iou[:, :-1] = box_iou(boxes, wanted.boxes)
    own = iou * (classes[:, None] == objects)
    other = iou - own
    partner = pair(own)
    taken = np.zeros(len(objects), bool)
    taken[partner] = taken[-1] = True
    inside = box_iou(boxes, crowds.boxes, is_crowd=True) > IOU
    covered = (inside & (classes[:, None] == crowds.classes)).any(axis=1) & (partner < 0)
    place, nobody = own.max(axis=1), np.full(len(classes), -1)
    cases = (  # kind, whether it is of it, the object that it is about
        (_LOCALIZATION, (place >= _BACKGROUND) & (place <= IOU), own.argmax(axis=1)),
        (_CLASSIFICATION, other.max(axis=1) >= IOU, other.argmax(axis=1)),
        (_DUPLICATE, (own * taken).max(axis=1) >= IOU, nobody),
        (_NOTHING_THERE, iou.max(axis=1) <= _BACKGROUND, nobody),
    )
    kind_of, holds, about = zip(*cases)
    kinds, targets = np.select(holds, kind_of, _BOTH), np.select(holds, about, -1)
    candidates = np.flatnonzero((partner < 0) & ~taken[targets])
    candidates = candidates[np.unique(targets[candidates], return_index=True)[1]]  # the highest score repairs
    repaired = nobody.copy()
    repaired[candidates] = objects[targets[candidates]]
    taken[targets[candidates]] = True
    return (classes, scores, partner >= 0, covered, kinds, repaired), objects[~taken]


def _mean_ap(classes: np.ndarray, scores: np.ndarray, is_true: np.ndarray, positives: np.ndarray) -> float:
    """Return the mean AP in percent over the classes that have objects or detections."""
    aps = []
    for class_index, count in enumerate(positives):
        chosen = np.flatnonzero(classes == class_index)
        if count or len(chosen):
            order = np.argsort(-scores[chosen], kind='stable')
            aps.append(_ap(is_true[chosen][order], count))
    return float(sum(aps) / len(aps)) if aps else 0.0


def _ap(is_true: np.ndarray, positives: int) -> float:
    if positives == 0 or len(is_true) == 0:
        return 0.0
    true = is_true.cumsum()
    precision = np.maximum.accumulate((true / np.arange(1, len(true) + 1))[::-1])[::-1]
    at = np.searchsorted(true / positives, np.arange(101) / 100, side='left')
    return 100 * precision[at[at < len(precision)]].sum() / 101
