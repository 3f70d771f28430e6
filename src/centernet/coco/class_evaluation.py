"""COCO's evaluation of one class, in little memory.

COCOeval matches the images that have objects of the class, some at a time. What it keeps of each image is
kept here as bits, from which precision and recall are computed as it does, to the last bit.
"""

from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
from pycocotools.cocoeval import COCOeval, Params

from .data import create_index, silence_stdout
from .objects import Objects
from .result_table import ClassDetections, is_among

#: the column of scores in ``ClassDetections.values``
_SCORE = 4
#: boxes of images without objects that are looked at at a time
_BOXES = 1 << 20
#: images that COCOeval matches at a time
_IMAGES = 2000


class ClassMatches(NamedTuple):
    """Who matches whom at an IoU of 0.5, objects of any size.

    ``positions``: int64 [m], of the detections that count: the hundred best of each image. ``matches``: int64
    [m], ids of the objects, 0 for none. ``ignored``: bool [m], matched with a crowd. ``objects``: int64 [g],
    ids of the objects without crowds. ``found_by``: int64 [g], positions of the detections, -1 for none.
    """

    positions: np.ndarray
    matches: np.ndarray
    ignored: np.ndarray
    objects: np.ndarray
    found_by: np.ndarray


class ClassTables(NamedTuple):
    """``precision``: float64 [10 IoUs, 101 recalls, 1, 4 areas, 3 limits], -1 without objects.

    ``recall``: the same without the second axis. ``matches``: if they were asked for.
    """

    precision: np.ndarray
    recall: np.ndarray
    matches: Optional[ClassMatches]


def evaluate_class(truth: Objects, found: ClassDetections, with_matches: bool = False) -> ClassTables:
    """Evaluate a class.

    Args:
        truth: its objects, with ids from 1.
        found: its detections, of the same images.
        with_matches: whether to return the matches, too.
    """
    params = Params(iouType='bbox')
    ranking = _Ranking.of(found, params.maxDets[-1])
    areas, count = len(params.areaRng), len(ranking.order)
    bits = (1 << np.arange(len(params.iouThrs))).astype(np.uint16)
    matched = np.zeros((areas, count), np.uint16)
    ignored = np.zeros((areas, count), np.uint16)
    objects = np.zeros(areas, np.int64)
    collected = _Matches(count) if with_matches else None
    images = np.unique(truth.image_ids)
    free = np.flatnonzero(~is_among(ranking.image_ids, images))
    for first in range(0, len(free), _BOXES):
        some = free[first : first + _BOXES]
        boxes = found.boxes(ranking.order[some])
        sizes = boxes[:, 2] * boxes[:, 3]
        for area, (least, most) in enumerate(params.areaRng):
            ignored[area, some] = np.where((sizes < least) | (sizes > most), bits.sum(), 0)
    del free
    for first in range(0, len(images), _IMAGES):
        for area, entry, place in _match(truth, found, ranking, images[first : first + _IMAGES]):
            matched[area, place] = bits.dot(entry['dtMatches'] > 0)
            ignored[area, place] = bits.dot(entry['dtIgnore'])
            objects[area] += np.count_nonzero(np.asarray(entry['gtIgnore']) == 0)
            if collected is not None and area == 0:
                collected.add(entry, place)
    matches = collected and collected.finish(ranking)
    # by score; equal scores stay in the order of the images
    ranks, values = ranking.ranks, found.values[ranking.order, _SCORE]
    del ranking
    order = np.argsort(-values, kind='stable')
    for part in (ranks, *matched, *ignored):
        part[:] = part[order]
    del order, values
    return ClassTables(*_tables(params, ranks, matched, ignored, objects), matches)


class _Ranking(NamedTuple):
    """The detections that count, by image id and, in each image, by score.

    ``order``: int64 [n], their positions among all. ``image_ids``: int64 [n]. ``ranks``: uint8 [n], in their
    images, from 0.
    """

    order: np.ndarray
    image_ids: np.ndarray
    ranks: np.ndarray

    @classmethod
    def of(cls, found: ClassDetections, most: int) -> '_Ranking':
        order = np.lexsort((-found.values[:, _SCORE], found.image_ids))
        image_ids = found.image_ids[order]
        starts = np.flatnonzero(np.diff(image_ids, prepend=image_ids[:1] - 1)).astype(np.int32)
        lengths = np.diff(np.append(starts, len(image_ids)))
        ranks = np.arange(len(image_ids), dtype=np.int32) - np.repeat(starts, lengths)
        kept = ranks < most
        return cls(order[kept], image_ids[kept], ranks[kept].astype(np.uint8))


def _match(
    truth: Objects, found: ClassDetections, ranking: _Ranking, images: np.ndarray
) -> Iterator[Tuple[int, Dict[str, Any], slice]]:
    """Let COCOeval match some images, all with objects.

    Yields:
        Number of the area, COCOeval's entry of an image, and the place of its detections in the ranking.
    """
    objects = truth.take(is_among(truth.image_ids, images))
    first = np.searchsorted(ranking.image_ids, images, side='left')
    last = np.searchsorted(ranking.image_ids, images, side='right')
    chosen = np.concatenate([np.arange(*limits) for limits in zip(first, last)])
    places = ranking.order[chosen]
    detections = [
        {
            'id': number,
            'image_id': image,
            'category_id': 0,
            'bbox': box,
            'area': box[2] * box[3],
            'score': score,
            'iscrowd': 0,
        }
        for number, image, box, score in zip(
            (chosen + 1).tolist(),
            ranking.image_ids[chosen].tolist(),
            found.boxes(places).tolist(),
            found.scores(places).tolist(),
        )
    ]
    tables = {'images': [{'id': image} for image in images.tolist()], 'categories': [{'id': 0}]}
    annotations = [dict(entry, category_id=0) for entry in objects.to_annotations()]
    evaluator = COCOeval(
        create_index(dict(tables, annotations=annotations)),
        create_index(dict(tables, annotations=detections)),
        'bbox',
    )
    with silence_stdout():
        evaluator.evaluate()
    for number, entry in enumerate(evaluator.evalImgs):
        area, image = divmod(number, len(images))
        yield area, entry, slice(first[image], last[image])


class _Matches:
    """Collects the matches at the first IoU, 0.5."""

    def __init__(self, count: int) -> None:
        self.matches, self.ignored = np.zeros(count, np.int64), np.zeros(count, bool)
        self.objects: List[np.ndarray] = []
        self.found_by: List[np.ndarray] = []

    def add(self, entry: Dict[str, Any], place: slice) -> None:
        self.matches[place] = entry['dtMatches'][0]
        self.ignored[place] = entry['dtIgnore'][0]
        counts = np.asarray(entry['gtIgnore']) == 0
        self.objects.append(np.asarray(entry['gtIds'], np.int64)[counts])
        self.found_by.append(entry['gtMatches'][0][counts].astype(np.int64))

    def finish(self, ranking: _Ranking) -> ClassMatches:
        found_by = np.concatenate(self.found_by or [np.zeros(0, np.int64)])
        positions = np.append(ranking.order, -1)[found_by - 1]  # COCOeval's 0, nobody, is the last
        return ClassMatches(
            ranking.order,
            self.matches,
            self.ignored,
            np.concatenate(self.objects or [np.zeros(0, np.int64)]),
            positions,
        )


def _tables(
    params: Params, ranks: np.ndarray, matched: np.ndarray, ignored: np.ndarray, objects: np.ndarray
) -> Tuple[np.ndarray, np.ndarray]:
    """Return precision and recall of detections that are sorted by score."""
    thresholds, limits = len(params.iouThrs), params.maxDets
    precision = -np.ones((thresholds, len(params.recThrs), 1, len(objects), len(limits)))
    recall = -np.ones((thresholds, 1, len(objects), len(limits)))
    for number, limit in enumerate(limits):
        kept = slice(None) if limit == limits[-1] else np.flatnonzero(ranks < limit)
        for area in np.flatnonzero(objects):
            found, left_out = matched[area, kept], ignored[area, kept]
            for threshold in range(thresholds):
                bit = np.uint16(1 << threshold)
                counts = (left_out & bit) == 0
                precision[threshold, :, 0, area, number], recall[threshold, 0, area, number] = _accumulate(
                    params.recThrs, np.flatnonzero((found & bit > 0) & counts), counts, int(objects[area])
                )
    return precision, recall


def _accumulate(
    recalls: np.ndarray, true: np.ndarray, counts: np.ndarray, objects: int
) -> Tuple[np.ndarray, float]:
    """Return precision at some recalls, and the recall of all detections, as COCOeval.accumulate does.

    It computes both at every detection, in lists. Here only true detections are looked at: at any other,
    recall is that of the true one before it, and precision is no higher.

    Args:
        recalls: float64 [r], ascending.
        true: positions of the true detections, ascending.
        counts: bool [n], whether a detection is true or false.
        objects: how many there are, at least 1.
    """
    precision = np.zeros(len(recalls))
    if not len(true):
        return precision, 0.0
    right = np.arange(1.0, len(true) + 1)
    wrong = np.cumsum(counts, dtype=np.int32)[true] - right
    highest = np.maximum.accumulate((right / (wrong + right + np.spacing(1)))[::-1])[::-1]
    places = np.searchsorted(right / objects, recalls, side='left')
    reached = places < len(true)
    precision[reached] = highest[places[reached]]
    return precision, right[-1] / objects
