"""Single images: where the errors are, and what differs between two runs."""

import collections
from typing import Counter, List, NamedTuple, Tuple

import numpy as np

from .matches import Matches
from .matching import box_iou, pair


def count_errors(matches: Matches, score: float) -> Counter[int]:
    """Return image id -> number of false detections and missed objects.

    Args:
        matches: the run.
        score: detections with at least this score count.
    """
    _, false, missed = matches.verdicts(score)
    images = [*matches.detections.images[false].tolist(), *matches.objects.images[missed].tolist()]
    return collections.Counter(images)


def worst_images(matches: Matches, score: float, count: int) -> List[int]:
    """Return the ids of the images with the most errors, the most first, at most ``count``."""
    errors = count_errors(matches, score)
    worst = sorted(matches.image_ids, key=lambda image_id: -errors[image_id])
    return [image_id for image_id in worst[:count] if errors[image_id]]


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


def compare_images(first: Matches, second: Matches, scores: Tuple[float, float]) -> List[Change]:
    """Compare two runs, image by image.

    Detections of a class are paired by the largest IoU, from 0.5, the highest score of the first run first.
    A detection that only one run has counts from that run's score; its partner may have a lower one.

    Args:
        first, second: the runs, of the same images.
        scores: detections with at least this score count, for each run.

    Returns:
        A change for each image.
    """
    errors = [count_errors(*item) for item in zip((first, second), scores)]
    tables, changes = (first.detections, second.detections), []
    places = (table.by_image(first.image_ids, table.classes >= 0) for table in tables)
    for image_id, *chosen in zip(first.image_ids, *places):
        ours, theirs = (table.take(place) for table, place in zip(tables, chosen))
        ours_count, theirs_count = (side.at_least(score) for side, score in zip((ours, theirs), scores))
        iou = box_iou(ours.boxes, theirs.boxes) * (ours.classes[:, None] == theirs.classes)
        partner = pair(iou)
        rows = np.flatnonzero(partner >= 0)
        columns = partner[rows]
        has_moved = np.abs(ours.scores[rows] - theirs.scores[columns]) > 0.01 + 1e-9
        has_moved |= iou[rows, columns] < 0.95
        moved = has_moved & (ours_count[rows] | theirs_count[columns])
        theirs_count[columns] = False
        counts = [int(found.sum()) for found in (ours_count & (partner < 0), theirs_count, moved)]
        changes.append(Change(image_id, *counts, *(item[image_id] for item in errors)))
    return changes
