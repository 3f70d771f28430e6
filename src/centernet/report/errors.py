"""What keeps AP50 from 100: the six kinds of errors of TIDE.

Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors" (2020): every false detection
and every object that was not found has one error, and an error weighs what AP50 gains when all of its kind
are repaired. The figures are those of the authors' tidecv 1.0.1, the order of equal scores included.
"""

from typing import Dict, List, NamedTuple, Tuple

import numpy as np
from pycocotools import mask

from .matches import IOU, Matches
from .run import Run

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
_CLASSIFICATION, _LOCALIZATION, _BOTH, _DUPLICATE, _BACKGROUND_ERROR = range(5)
#: detections of an image that count
_MOST = 100


class ErrorWeights(NamedTuple):
    """``ap50``: in percent, as tidecv computes it. ``weights``: by the names in :data:`KINDS`, what AP50
    gains if they are repaired, in percent. ``counts``: how many there are."""

    ap50: float
    weights: Dict[str, float]
    counts: Dict[str, int]


class _Found(NamedTuple):
    """The detections of an image, or of all, the highest score of each image first.

    ``classes``: int64 [n]. ``scores``: float64 [n]. ``is_true``: bool [n]. ``ignored``: bool [n], covered by
    a crowd. ``kinds``: int64 [n], position in :data:`KINDS` of the error that it is unless it is true.
    ``repaired``: int64 [n], the class that it would find an object of, were it repaired; -1 for none.
    """

    classes: np.ndarray
    scores: np.ndarray
    is_true: np.ndarray
    ignored: np.ndarray
    kinds: np.ndarray
    repaired: np.ndarray


def error_weights(run: Run, matches: Matches) -> ErrorWeights:
    """Sort the errors of a run into kinds, and weigh them."""
    place = {category: number for number, (category, _) in enumerate(run.data.evaluated)}
    positives = np.bincount(matches.objects.classes, minlength=len(place))
    missed = np.zeros(len(place), np.int64)
    by_image, parts = _by_image(run, place), []
    for image_id in run.image_ids:
        part, classes = _sort_image(*by_image.get(image_id, ([], [], [])))
        parts.append(part)
        np.add.at(missed, classes, 1)
    found = _Found(*(np.concatenate(arrays) for arrays in zip(*parts)))
    ranked, is_error = ~found.ignored, ~found.is_true
    before = _mean_ap(found.classes[ranked], found.scores[ranked], found.is_true[ranked], positives)
    weights, counts = {}, {}
    for kind, name in enumerate(KINDS):
        chosen = is_error & (found.kinds == kind)
        repaired = chosen & (found.repaired >= 0)
        classes = np.where(repaired, found.repaired, found.classes)
        kept = np.flatnonzero(is_error & np.where(chosen, repaired, ranked))
        order = np.concatenate([kept, np.flatnonzero(found.is_true)])  # as tidecv ranks equal scores
        left = positives - missed if name == 'missed' else positives
        is_true = found.is_true | repaired
        after = _mean_ap(classes[order], found.scores[order], is_true[order], left)
        weights[name] = max(after - before, 0.0)
        counts[name] = int(missed.sum()) if name == 'missed' else int((chosen & ranked).sum())
    return ErrorWeights(before, weights, counts)


def _by_image(run: Run, place: Dict[int, int]) -> Dict[int, Tuple[List, List, List]]:
    """Return image id -> its detections (box, score, class), crowds (box, class) and objects (box, class)."""
    wanted = set(run.image_ids)
    by_image: Dict[int, Tuple[List, List, List]] = {}
    for result in run.results:
        if result['image_id'] in wanted and result['category_id'] in place:
            lists = by_image.setdefault(result['image_id'], ([], [], []))
            lists[0].append((result['bbox'], result['score'], place[result['category_id']]))
    objects = run.data.objects
    columns = (objects.image_ids, objects.category_ids, objects.boxes, objects.crowd)
    for image_id, category, box, crowd in zip(*(column.tolist() for column in columns)):
        if image_id in wanted and category in place:
            lists = by_image.setdefault(image_id, ([], [], []))
            lists[1 if crowd else 2].append((box, place[category]))
    return by_image


def _sort_image(found: List, crowds: List, wanted: List) -> Tuple[_Found, List[int]]:
    """Find the errors of one image.

    Args:
        found, crowds, wanted: as :func:`_by_image` returns them.

    Returns:
        Its detections, and the classes of the objects that are missed.
    """
    found = sorted(found, key=lambda item: -item[1])[:_MOST]
    boxes = np.array([item[0] for item in found], np.float64).reshape(-1, 4)
    classes = np.array([item[2] for item in found], np.int64)
    scores = np.array([item[1] for item in found], np.float64)
    objects = np.array([item[1] for item in wanted], np.int64)
    iou = _iou(boxes, [item[0] for item in wanted], 0)
    same = classes[:, None] == objects[None, :]
    used = _match(iou * same)
    ignored = np.zeros(len(found), bool)
    for box, class_index in crowds:
        ignored |= (used < 0) & (classes == class_index) & (_iou(boxes, [box], 1)[:, 0] > IOU)
    taken = np.zeros(len(wanted), bool)
    taken[used[used >= 0]] = True
    kinds, targets = _kinds(iou, same, taken)
    repaired, best = np.full(len(found), -1, np.int64), {}
    for number in np.flatnonzero((used < 0) & (targets >= 0)):
        if not taken[targets[number]]:
            best.setdefault(targets[number], number)  # the highest score repairs it
    for target, number in best.items():
        repaired[number] = objects[target]
    missed = [int(item) for number, item in enumerate(objects) if not taken[number] and number not in best]
    return _Found(classes, scores, used >= 0, ignored, kinds, repaired), missed


def _iou(boxes: np.ndarray, others: List, is_crowd: int) -> np.ndarray:
    """float64 [n, m]: COCO's IoU of boxes x, y, width, height; with crowds, the share of the box inside."""
    if len(boxes) == 0 or not others:
        return np.zeros((len(boxes), len(others)))
    return np.asarray(mask.iou(boxes, np.array(others, np.float64), [is_crowd] * len(others)))


def _match(iou: np.ndarray) -> np.ndarray:
    """Match detections, the highest score first, with the objects that they overlap most.

    Args:
        iou: float64 [n, g], 0 where the classes differ.

    Returns:
        int64 [n]: the object of each detection, -1 for none.
    """
    used = np.full(len(iou), -1, np.int64)
    if iou.size == 0:
        return used
    left = iou.copy()
    for number in np.flatnonzero(iou.max(axis=1) >= IOU):
        target = int(left[number].argmax())
        if left[number, target] >= IOU:
            used[number] = target
            left[:, target] = 0
    return used


def _kinds(iou: np.ndarray, same: np.ndarray, taken: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return for every detection the kind of error that it is, if it is one, and the object that it is about.

    Args:
        iou: float64 [n, g]. same: bool [n, g], whether the classes are equal. taken: bool [g], whether an
            object has been found.
    """
    count = len(iou)
    if iou.shape[1] == 0:
        return np.full(count, _BACKGROUND_ERROR), np.full(count, -1)
    if count == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows = np.arange(count)
    own, other = iou * same, iou * ~same
    nearest, nearest_other = own.argmax(axis=1), other.argmax(axis=1)
    place = own[rows, nearest]
    tests = (
        (_LOCALIZATION, (place >= _BACKGROUND) & (place <= IOU)),
        (_CLASSIFICATION, other[rows, nearest_other] >= IOU),
        (_DUPLICATE, (own * taken).max(axis=1) >= IOU),
        (_BACKGROUND_ERROR, iou.max(axis=1) <= _BACKGROUND),
    )
    kinds = np.select([holds for _, holds in tests], [kind for kind, _ in tests], _BOTH)
    targets = np.where(kinds == _LOCALIZATION, nearest, np.where(kinds == _CLASSIFICATION, nearest_other, -1))
    return kinds, targets


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
