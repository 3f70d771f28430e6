"""COCOeval's tables and matches of a run, as arrays."""

from typing import List, NamedTuple, Sequence, Tuple

import numpy as np

from ..coco import STAT_NAMES, CocoMetrics, ResultTable
from ..coco.metrics import evaluate_classes, summarise_classes
from ..system.errors import DataError, UserError
from ..system.processes import ProcessError
from .run import Run


class Boxes(NamedTuple):
    """Annotated objects, or the detections by their positions in the results.

    ``images``: int64 [n], image ids. ``classes``: int64 [n], positions in the evaluated categories, -1 for
    what does not count (of other images or classes, or detections beyond the hundred best of an image and
    class). ``boxes``: float64 [n, 4], x, y, width, height. ``scores``: float64 [n], 1 for objects.
    ``ignored``: bool [n], crowds and the detections of them, which are neither right nor wrong.
    """

    images: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    ignored: np.ndarray

    def take(self, positions: np.ndarray) -> 'Boxes':
        """Return some of the boxes, by their positions or a mask."""
        return Boxes(*(column[positions] for column in self))

    def at_least(self, score: float) -> np.ndarray:
        """bool [n]: whether boxes have a score."""
        return self.scores >= score - 1e-9

    def by_image(self, image_ids: Sequence[int], chosen: np.ndarray) -> List[np.ndarray]:
        """Return the positions of the chosen ones on each image, the highest score first; ``chosen``: bool
        [n]."""
        order = np.lexsort((-self.scores, self.images))
        order = order[chosen[order]]
        first, last = (np.searchsorted(self.images[order], image_ids, side) for side in ('left', 'right'))
        return [order[start:end] for start, end in zip(first, last)]


class Matches(NamedTuple):
    """A run as COCOeval sees it.

    ``metrics``: COCO's twelve. ``precision``: float64 [10 IoUs, 101 recalls, classes, 4 areas, 3 limits], -1
    for classes without objects. ``image_ids``: the evaluated images. ``found``: int64 [n], the position of
    the object that COCOeval matches with each detection at an IoU of 0.5, -1 for none.
    """

    metrics: CocoMetrics
    precision: np.ndarray
    image_ids: List[int]
    detections: Boxes
    objects: Boxes
    found: np.ndarray

    @property
    def positives(self) -> np.ndarray:
        """int64 [classes]: how many objects there are, without crowds."""
        counts = (self.objects.classes >= 0) & ~self.objects.ignored
        return np.bincount(self.objects.classes[counts], minlength=self.precision.shape[2])

    def verdicts(self, score: float = -np.inf) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Judge the detections that have at least a score.

        Returns:
            bool [n], the detections that are matched with an object; bool [n], those that are matched with
            nothing; bool [g], the objects that none of them matches.
        """
        right, missed = ((part.classes >= 0) & ~part.ignored for part in (self.detections, self.objects))
        counts = right & self.detections.at_least(score)
        true = counts & (self.found >= 0)
        missed[self.found[true]] = False
        return true, counts & ~true, missed


def match(run: Run) -> Matches:
    """Evaluate a run's detections.

    Raises:
        DataError: the metrics are not those of metrics.json.
        UserError: a process was killed, as it is where memory runs out.
    """
    results, data, truth = run.results, run.data, run.data.objects
    categories = np.array([result['category_id'] for result in results], np.int64)
    detections = Boxes(
        np.array([result['image_id'] for result in results], np.int64),
        np.full(len(results), -1),
        np.array([result['bbox'] for result in results], np.float64).reshape(-1, 4),
        np.array([result['score'] for result in results], np.float64),
        np.zeros(len(results), bool),
    )
    nowhere, certain = np.full(len(truth.ids), -1), np.ones(len(truth.ids))
    objects = Boxes(truth.image_ids, nowhere, truth.boxes, certain, truth.crowd)
    is_evaluated, found = np.isin(truth.image_ids, run.image_ids), np.full(len(results), -1)
    try:
        tables = evaluate_classes(data, ResultTable(results), run.image_ids, with_matches=True)
    except ProcessError as error:
        raise UserError(f'a process that computes the metrics of {run.name} {error.how}') from None
    for number, ((category, _), table) in enumerate(zip(data.evaluated, tables)):
        objects.classes[is_evaluated & (truth.category_ids == category)] = number
        positions, matched, ignored = table.matches
        places = np.flatnonzero(categories == category)[positions]  # among all detections
        detections.classes[places], detections.ignored[places] = number, ignored
        found[places] = matched - 1  # ids of objects count from 1
    precision = np.concatenate([table.precision for table in tables], axis=2)
    metrics = summarise_classes(data.evaluated, tables)
    values = [[stats.get(name) for name in STAT_NAMES] for stats in (run.document['metrics'], metrics.stats)]
    if not np.allclose(*np.array(values, np.float64), rtol=0, atol=1e-6, equal_nan=True):
        raise DataError(f'results.json and metrics.json of {run.name} do not belong together')
    return Matches(metrics, precision, run.image_ids, detections, objects, found)
