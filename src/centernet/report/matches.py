"""COCOeval's tables and matches of a run, as arrays."""

from typing import Dict, NamedTuple, Tuple

import numpy as np

from ..coco import STAT_NAMES, CocoMetrics, ResultTable
from ..coco.metrics import evaluate_classes, summarise_classes
from ..system.errors import DataError, UserError
from ..system.processes import ProcessError
from .matching import by_image
from .run import Run


class Objects(NamedTuple):
    """Annotated objects of the evaluated images and classes.

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

    def take(self, positions: np.ndarray) -> 'Detections':
        """Return some of the detections."""
        return Detections(*(column[positions] for column in self))

    def at_least(self, score: float) -> np.ndarray:
        """bool [n]: whether detections have a score."""
        return self.scores >= score - 1e-9

    def by_image(self) -> Dict[int, np.ndarray]:
        """Return image id -> positions of the detections that count, the highest score first."""
        ranked = np.argsort(-self.scores, kind='stable')
        return by_image(self.images, ranked[self.classes[ranked] >= 0])


class Verdicts(NamedTuple):
    """Who is right at a score. ``true``, ``false``: bool [n], the detections that are matched with an object,
    or with nothing. ``missed``: bool [g], the objects that none of them matches."""

    true: np.ndarray
    false: np.ndarray
    missed: np.ndarray


class Matches(NamedTuple):
    """A run as COCOeval sees it.

    ``metrics``: COCO's twelve. ``precision``: float64 [10 IoUs, 101 recalls, classes, 4 areas, 3 limits], -1
    for classes without objects. ``objects``: those that count; ``crowds`` do not.
    """

    metrics: CocoMetrics
    precision: np.ndarray
    detections: Detections
    objects: Objects
    crowds: Objects

    @property
    def class_count(self) -> int:
        """How many classes were evaluated."""
        return self.precision.shape[2]

    def verdicts(self, score: float = -np.inf) -> Verdicts:
        """Judge the detections that have at least a score."""
        found = self.detections
        counts = found.at_least(score) & (found.classes >= 0) & ~found.ignored
        true = counts & (found.matches > 0)
        return Verdicts(true, counts & ~true, ~np.append(true, False)[self.objects.found_by])


def match(run: Run) -> Matches:
    """Evaluate a run's detections.

    Raises:
        DataError: the metrics are not those of metrics.json.
        UserError: a process was killed, as it is where memory runs out.
    """
    results, data = run.results, run.data
    categories = np.array([result['category_id'] for result in results], np.int64)
    objects, crowds = _objects(run)
    detections = Detections(
        np.array([result['image_id'] for result in results], np.int64),
        np.full(len(results), -1),
        np.array([result['bbox'] for result in results], np.float64).reshape(-1, 4),
        np.array([result['score'] for result in results], np.float64),
        np.zeros(len(results), np.int64),
        np.zeros(len(results), bool),
    )
    try:
        tables = evaluate_classes(data, ResultTable(results), run.image_ids, with_matches=True)
    except ProcessError as error:
        raise UserError(f'a process that computes the metrics of {run.name} {error.how}') from None
    for number, ((category, _), table) in enumerate(zip(data.evaluated, tables)):
        positions, matched, ignored = table.matches
        places = np.flatnonzero(categories == category)[positions]  # among all detections
        detections.classes[places] = number
        detections.matches[places], detections.ignored[places] = matched, ignored
    true = np.flatnonzero((detections.matches > 0) & ~detections.ignored & (detections.classes >= 0))
    objects.found_by[np.searchsorted(objects.ids, detections.matches[true])] = true
    precision = np.concatenate([table.precision for table in tables], axis=2)
    metrics = summarise_classes(data.evaluated, tables)
    values = [[stats.get(name) for name in STAT_NAMES] for stats in (run.document['metrics'], metrics.stats)]
    if not np.allclose(*np.array(values, np.float64), rtol=0, atol=1e-6, equal_nan=True):
        raise DataError(f'results.json and metrics.json of {run.name} do not belong together')
    return Matches(metrics, precision, detections, objects, crowds)


def _objects(run: Run) -> Tuple[Objects, Objects]:
    """The objects that count, which nothing has found yet, and the crowds."""
    everything = run.data.objects
    numbers = {category: number for number, (category, _) in enumerate(run.data.evaluated)}
    classes = np.array([numbers.get(category, -1) for category in everything.category_ids.tolist()], int)
    counts = np.isin(everything.image_ids, run.image_ids) & (classes >= 0)
    nobody = np.full(len(classes), -1)
    columns = everything.ids, everything.image_ids, classes, everything.boxes, nobody
    crowd = everything.crowd
    return tuple(Objects(*(part[chosen] for part in columns)) for chosen in (counts & ~crowd, counts & crowd))
