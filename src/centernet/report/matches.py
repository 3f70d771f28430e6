"""COCOeval's tables and matches of a run, as arrays."""

from typing import Any, Dict, List, NamedTuple

import numpy as np

from ..coco import (
    STAT_NAMES,
    CocoMetrics,
    ResultTable,
    evaluate_classes,
    join_tables,
    summarise_classes,
)
from ..errors import DataError, UserError
from ..processes import ProcessError
from .run import Run

#: A detection that overlaps an object of its class by this IoU or more can find it.
IOU = 0.5


class Objects(NamedTuple):
    """The annotated objects that count, which crowds do not, by their position here.

    ``ids``: int64 [g], of the annotations, ascending. ``images``: int64 [g], image ids. ``classes``: int64
    [g], positions in the evaluated categories. ``boxes``: float64 [g, 4], x, y, width, height. ``found_by``:
    int64 [g], the position in the results of the detection that COCOeval matches with it at an IoU of 0.5,
    -1 for none.
    """

    ids: np.ndarray
    images: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray
    found_by: np.ndarray


class Detections(NamedTuple):
    """The detections of a run by their positions in the results.

    ``images``: int64 [n], image ids. ``classes``: int64 [n], positions in the evaluated categories, -1 for
    detections that do not count (of other images or classes, or beyond the hundred best of an image and
    class). ``boxes``: float64 [n, 4], x, y, width, height. ``scores``: float64 [n]. ``matches``: int64 [n],
    the id of the annotation that COCOeval matches with it at an IoU of 0.5, 0 for none. ``ignored``: bool
    [n], matched with a crowd, so neither right nor wrong.
    """

    images: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    matches: np.ndarray
    ignored: np.ndarray

    @property
    def is_true(self) -> np.ndarray:
        """bool [n]: matched with an object that counts."""
        return (self.matches > 0) & ~self.ignored & (self.classes >= 0)

    @property
    def is_false(self) -> np.ndarray:
        """bool [n]: matched with nothing."""
        return (self.matches == 0) & ~self.ignored & (self.classes >= 0)


class Matches(NamedTuple):
    """A run as COCOeval sees it.

    ``metrics``: the figures. ``precision``: float64 [10 IoUs, 101 recalls, classes, 4 areas, 3 limits], -1
    for classes without objects. ``recall``: the same without the second axis.
    """

    metrics: CocoMetrics
    precision: np.ndarray
    recall: np.ndarray
    detections: Detections
    objects: Objects


def match(run: Run) -> Matches:
    """Evaluate a run's detections.

    Raises:
        DataError: the figures are not those of metrics.json.
        UserError: a process was killed, as it is where memory runs out.
    """
    results, data = run.results, run.data
    place = {category: number for number, (category, _) in enumerate(data.evaluated)}
    objects = _objects(run, place)
    count = len(results)
    categories = _integers(result['category_id'] for result in results)
    detections = Detections(
        _integers(result['image_id'] for result in results),
        np.full(count, -1, np.int64),
        np.array([result['bbox'] for result in results], np.float64).reshape(-1, 4),
        np.array([result['score'] for result in results], np.float64),
        np.zeros(count, np.int64),
        np.zeros(count, bool),
    )
    try:
        tables = evaluate_classes(data, ResultTable.of(results), run.image_ids, with_matches=True)
    except ProcessError as error:
        raise UserError(f'a process that computes the figures of {run.name} {error.how}') from None
    for category, number in place.items():
        found = tables[number].matches
        places = np.append(np.flatnonzero(categories == category), -1)  # of the class among all
        detections.classes[places[found.positions]] = number
        detections.matches[places[found.positions]] = found.matches
        detections.ignored[places[found.positions]] = found.ignored
        objects.found_by[np.searchsorted(objects.ids, found.objects)] = places[found.found_by]
    precision, recall = join_tables(tables)
    metrics = summarise_classes(data.evaluated, precision, recall)
    _check(run, metrics)
    return Matches(metrics, precision, recall, detections, objects)


def _objects(run: Run, place: Dict[int, int]) -> Objects:
    """The objects that count, nobody's yet; ``place``: category id -> position of the class."""
    wanted = set(run.image_ids)
    all_objects = run.data.objects
    counts = [
        image_id in wanted and category in place
        for image_id, category in zip(all_objects.image_ids.tolist(), all_objects.category_ids.tolist())
    ]
    kept = all_objects.take(np.array(counts, bool) & ~all_objects.crowd)
    return Objects(
        kept.ids,
        kept.image_ids,
        _integers(place[category] for category in kept.category_ids.tolist()),
        kept.boxes,
        np.full(len(kept.ids), -1, np.int64),
    )


def _integers(values: Any) -> np.ndarray:
    return np.array(list(values), np.int64)


def _check(run: Run, metrics: CocoMetrics) -> None:
    recorded = run.document['metrics']
    differing: List[str] = []
    for name in STAT_NAMES:
        values = (recorded.get(name), metrics.stats[name])
        if None in values:
            same = values[0] is values[1]
        else:
            same = abs(values[0] - values[1]) < 1e-6
        if not same:
            differing.append(name)
    if differing:
        raise DataError(
            f'results.json and metrics.json of {run.name} do not belong together: {differing[0]} is'
            f' {metrics.stats[differing[0]]} of the one and {recorded.get(differing[0])} in the other'
        )
