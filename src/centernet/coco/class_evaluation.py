"""COCO's evaluation of one class, in little memory.

COCOeval matches the images that have objects of the class, some at a time. What it keeps of each image is
kept here as bits, from which precision and recall are computed as it does, to the last bit.
"""

import contextlib
import io
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params

from .data import Objects
from .results import ResultTable

#: images that COCOeval matches at a time
_IMAGES = 2000


class ClassMatches(NamedTuple):
    """What the detections match at an IoU of 0.5, objects of any size.

    ``positions``: int64 [m], of the detections that count: the hundred best of each image. ``matches``: int64
    [m], ids of the objects, 0 for none. ``ignored``: bool [m], matched with a crowd.
    """

    positions: np.ndarray
    matches: np.ndarray
    ignored: np.ndarray


class ClassTables(NamedTuple):
    """``precision``: float64 [10 IoUs, 101 recalls, 1, 4 areas, 3 limits], -1 without objects.

    ``recall``: the same without the second axis. ``matches``: if they were asked for.
    """

    precision: np.ndarray
    recall: np.ndarray
    matches: Optional[ClassMatches]


def evaluate_class(
    objects: Objects, table: ResultTable, image_ids: np.ndarray, with_matches: bool, category: int
) -> ClassTables:
    """Evaluate a class.

    Args:
        objects: of all classes, with ids from 1.
        table: the detections of all classes.
        image_ids: int64, ascending: the images that count.
        with_matches: whether to return the matches, too.
        category: the id of the class.
    """
    params = Params(iouType='bbox')
    truth, found = objects.take(objects.category_ids == category), table.of_category(category)
    values, found_in = found['values'], found['image_ids']
    truth = truth.take(np.argsort(truth.image_ids, kind='stable'))
    # the detections that count, by image and, in each image, by score
    order = np.lexsort((-values[:, 4], found_in))
    by_image = found_in[order]
    first, last = (np.searchsorted(by_image, image_ids, side) for side in ('left', 'right'))
    del by_image
    counts = np.minimum(last - first, params.maxDets[-1])
    starts = np.cumsum(counts) - counts
    order = order[np.arange(counts.sum()) + np.repeat(first - starts, counts)]
    ranks = (np.arange(len(order), dtype=np.int32) - np.repeat(starts, counts)).astype(np.uint8)

    # a bit for each IoU; detections in images without objects match nothing
    bits = (1 << np.arange(len(params.iouThrs))).astype(np.uint16)
    sizes = np.prod(values[order, 2:4] / 100, axis=1)
    beyond = [(sizes < least) | (sizes > most) for least, most in params.areaRng]
    ignored = np.array(beyond, np.uint16) * bits.sum(dtype=np.uint16)
    matched = np.zeros_like(ignored)
    matches = np.zeros(len(order) if with_matches else 0, np.int64)
    positives = np.zeros(len(params.areaRng), np.int64)
    del sizes, beyond
    with_objects = np.flatnonzero(np.isin(image_ids, truth.image_ids))
    for begin in range(0, len(with_objects), _IMAGES):
        images = with_objects[begin : begin + _IMAGES]
        places = [slice(starts[image], starts[image] + counts[image]) for image in images]
        chosen = np.concatenate([order[place] for place in places])
        entries = _match(truth, image_ids[images], found_in[chosen], values[chosen] / 100)
        for number, entry in enumerate(entries):
            area, image = divmod(number, len(images))
            place = places[image]
            matched[area, place] = bits.dot(entry['dtMatches'] > 0)
            ignored[area, place] = bits.dot(entry['dtIgnore'])
            positives[area] += np.count_nonzero(np.equal(entry['gtIgnore'], 0))
            if with_matches and area == 0:
                matches[place] = entry['dtMatches'][0]
    kept = ClassMatches(order, matches, (ignored[0] & 1).astype(bool)) if with_matches else None
    # by score; equal scores stay in the order of the images
    by_score = np.argsort(-values[order, 4], kind='stable')
    for part in (ranks, *matched, *ignored):
        part[:] = part[by_score]
    del order, by_score
    return ClassTables(*_tables(params, ranks, matched, ignored, positives), kept)


def _match(
    truth: Objects, image_ids: np.ndarray, found_in: np.ndarray, values: np.ndarray
) -> List[Dict[str, Any]]:
    """Let COCOeval match some images, all with objects.

    Args:
        truth: objects, sorted by image, of these images and others.
        image_ids: of the images, ascending.
        found_in: int64 [m], image ids of their detections.
        values: float64 [m, 5], of their detections.

    Returns:
        COCOeval's entries, by area and image.
    """
    first = np.searchsorted(truth.image_ids, image_ids[0], 'left')
    objects = truth.take(slice(first, np.searchsorted(truth.image_ids, image_ids[-1], 'right')))
    category = int(truth.category_ids[0])
    found = [
        dict(
            id=number,
            image_id=image_id,
            category_id=category,
            bbox=row[:4],
            area=row[2] * row[3],
            score=row[4],
        )
        for number, (image_id, row) in enumerate(zip(found_in.tolist(), values.tolist()), start=1)
    ]
    images, categories = [{'id': image_id} for image_id in image_ids.tolist()], [{'id': category}]
    sides = [
        create_index({'images': images, 'categories': categories, 'annotations': annotations})
        for annotations in (objects.to_annotations(), found)
    ]
    evaluator = COCOeval(*sides, 'bbox')
    with silence_stdout():
        evaluator.evaluate()
    return evaluator.evalImgs


def _tables(
    params: Params, ranks: np.ndarray, matched: np.ndarray, ignored: np.ndarray, positives: np.ndarray
) -> Tuple[np.ndarray, np.ndarray]:
    """Return precision and recall of detections that are sorted by score."""
    thresholds, limits = len(params.iouThrs), params.maxDets
    precision = -np.ones((thresholds, len(params.recThrs), 1, len(positives), len(limits)))
    recall = -np.ones((thresholds, 1, len(positives), len(limits)))
    for number, limit in enumerate(limits):
        kept = ranks < limit
        for area in np.flatnonzero(positives):
            found, left_out = matched[area, kept], ignored[area, kept]
            for threshold in range(thresholds):
                bit = np.uint16(1 << threshold)
                counts = (left_out & bit) == 0
                precision[threshold, :, 0, area, number], recall[threshold, 0, area, number] = _accumulate(
                    params.recThrs, np.flatnonzero((found & bit > 0) & counts), counts, int(positives[area])
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


def create_index(dataset: Dict[str, Any]) -> COCO:
    """Return a pycocotools COCO object for a dict with images, annotations and categories."""
    coco = COCO()
    coco.dataset = dataset
    with silence_stdout():
        coco.createIndex()
    return coco


@contextlib.contextmanager
def silence_stdout() -> Iterator[None]:
    """Discard what pycocotools prints to stdout about its progress."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
