"""Single images: where the errors are, and what differs between two runs."""

from typing import Dict, List, NamedTuple, Sequence

import numpy as np
from pycocotools import mask

from .confusion import missed
from .matches import IOU, Matches


class Mark(NamedTuple):
    """A box on a picture. ``kind``: ``true``, ``false`` or ``missed``. ``box``: x, y, width, height in image
    pixels. ``score``: None for a missed object."""

    kind: str
    box: Sequence[float]
    class_index: int
    score: float


class ImageErrors(NamedTuple):
    """The errors of an image: false detections and missed objects, among ``marks``."""

    image_id: int
    false: int
    missed: int
    marks: List[Mark]


def mark_images(matches: Matches, score: float, image_ids: Sequence[int]) -> Dict[int, ImageErrors]:
    """Return image id -> its errors, for the given images.

    Args:
        matches: the run.
        score: detections with at least this score count.
        image_ids: the images.
    """
    found, objects = matches.detections, matches.objects
    wanted = np.array(sorted(image_ids), np.int64)
    kept = (found.scores >= score - 1e-9) & np.isin(found.images, wanted)
    marks: Dict[int, List[Mark]] = {image_id: [] for image_id in image_ids}
    for kind, chosen in (('true', found.is_true), ('false', found.is_false)):
        for number in np.flatnonzero(kept & chosen):
            marks[int(found.images[number])].append(
                Mark(
                    kind,
                    found.boxes[number].tolist(),
                    int(found.classes[number]),
                    float(found.scores[number]),
                )
            )
    for number in np.flatnonzero(missed(matches, score) & np.isin(objects.images, wanted)):
        box = objects.boxes[number].tolist()
        marks[int(objects.images[number])].append(Mark('missed', box, int(objects.classes[number]), None))
    return {
        image_id: ImageErrors(
            image_id,
            sum(mark.kind == 'false' for mark in items),
            sum(mark.kind == 'missed' for mark in items),
            items,
        )
        for image_id, items in marks.items()
    }


def count_errors(matches: Matches, score: float, image_ids: Sequence[int]) -> np.ndarray:
    """int64 [images]: false detections and missed objects of each image."""
    found, objects = matches.detections, matches.objects
    false = found.images[found.is_false & (found.scores >= score - 1e-9)]
    lost = objects.images[missed(matches, score)]
    order = np.argsort(np.array(image_ids, np.int64), kind='stable')
    ids = np.array(image_ids, np.int64)[order]
    counts = np.zeros(len(image_ids), np.int64)
    for images in (false, lost):
        counts[order] += np.bincount(np.searchsorted(ids, images), minlength=len(ids))[: len(ids)]
    return counts


def worst_images(matches: Matches, score: float, image_ids: Sequence[int], count: int) -> List[int]:
    """Return the ids of the images with the most errors, the most first, at most ``count``."""
    errors = count_errors(matches, score, image_ids)
    order = np.argsort(-errors, kind='stable')[:count]
    return [image_ids[position] for position in order if errors[position]]


class Change(NamedTuple):
    """What differs between two runs on an image: how many detections only one of them has, how many of the
    others have another score (by more than 0.01) or box (IoU below 0.95), and the errors of both."""

    image_id: int
    only_first: int
    only_second: int
    moved: int
    errors_first: int
    errors_second: int

    @property
    def changes(self) -> int:
        """How many detections differ."""
        return self.only_first + self.only_second + self.moved

    @property
    def gain(self) -> int:
        """How many errors fewer the second run has."""
        return self.errors_first - self.errors_second


def compare_images(
    first: Matches, second: Matches, scores: Sequence[float], image_ids: Sequence[int]
) -> List[Change]:
    """Compare two runs, image by image.

    Detections of a class are paired by the largest IoU, from 0.5, the highest score of the first run first.
    A detection that only one run has counts from that run's score; its partner may have a lower one.

    Args:
        first, second: the runs, of the same images.
        scores: detections with at least this score count, for each run.
        image_ids: the images.

    Returns:
        A change for each image, in the order of ``image_ids``.
    """
    errors = [count_errors(run, score, image_ids) for run, score in zip((first, second), scores)]
    sides = [_by_image(run.detections) for run in (first, second)]
    changes = []
    for position, image_id in enumerate(image_ids):
        found = [side.get(image_id, np.zeros(0, np.int64)) for side in sides]
        counts = _compare(first.detections, second.detections, found[0], found[1], scores)
        changes.append(Change(image_id, *counts, *(int(item[position]) for item in errors)))
    return changes


def _by_image(detections) -> Dict[int, np.ndarray]:
    """Return image id -> the positions of its detections that count, the highest score first."""
    chosen = np.flatnonzero(detections.classes >= 0)
    chosen = chosen[np.lexsort((-detections.scores[chosen], detections.images[chosen]))]
    if len(chosen) == 0:
        return {}
    ids, starts = np.unique(detections.images[chosen], return_index=True)
    return dict(zip(ids.tolist(), np.split(chosen, starts[1:])))


def _compare(first, second, ours, theirs, scores):
    """How many detections only the first or the second has, and how many differ."""
    strong = first.scores[ours] >= scores[0] - 1e-9, second.scores[theirs] >= scores[1] - 1e-9
    if not (strong[0].any() or strong[1].any()):
        return 0, 0, 0
    same = first.classes[ours][:, None] == second.classes[theirs][None, :]
    iou = np.zeros(same.shape)
    if same.size:
        iou = np.asarray(mask.iou(first.boxes[ours], second.boxes[theirs], [0] * len(theirs))) * same
    left, moved = iou.copy(), 0
    partner = np.full(len(ours), -1)
    for row in np.flatnonzero(iou.max(axis=1) >= IOU) if same.size else ():
        column = int(left[row].argmax())
        if left[row, column] >= IOU:
            partner[row], left[:, column] = column, 0
            if strong[0][row] or strong[1][column]:
                scores_differ = abs(first.scores[ours[row]] - second.scores[theirs[column]]) > 0.01 + 1e-9
                moved += int(scores_differ or iou[row, column] < 0.95)
    taken = np.zeros(len(theirs), bool)
    taken[partner[partner >= 0]] = True
    return int((strong[0] & (partner < 0)).sum()), int((strong[1] & ~taken).sum()), moved
