"""Curves, and the metrics of each class."""

from typing import Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from .matches import Matches

#: recalls of COCOeval's precision, and scores at which F1 is computed: results.json has two decimals
RECALLS = SCORES = np.linspace(0, 1, 101)
#: name -> which of COCOeval's IoU thresholds, 0.5, 0.55, ... 0.95, the curve averages
CURVES = {'0.50:0.95': slice(None), '0.50': slice(0, 1), '0.75': slice(5, 6)}
#: names of the values of a class: AP at the IoUs of CURVES, and by size; the best F1
APS = ('ap', 'ap50', 'ap75', 'small', 'medium', 'large')
CLASS_VALUES = (*APS, 'best_f1', 'best_score', 'best_precision', 'best_recall')


class ClassMetrics(NamedTuple):
    """The metrics of a class.

    ``objects``: annotated, without crowds. ``detections``: with at least the score of the report.
    ``values``: by :data:`CLASS_VALUES`: AP at any IoU, at 0.5 and at 0.75, AP of objects by size, and the
    largest F1 at IoU 0.5 with its score, precision and recall; None where there are no objects (of that
    size).
    """

    name: str
    objects: int
    detections: int
    values: Dict[str, Optional[float]]


def precision_curves(matches: Matches, number: Optional[int] = None) -> Dict[str, np.ndarray]:
    """Return the curves of :data:`CURVES` by name: float64 [101], precision at :data:`RECALLS`.

    Their means are AP, AP50 and AP75. There are none without objects.

    Args:
        matches: the run.
        number: a class; None for the mean of all that have objects.
    """
    table = matches.precision[:, :, :, 0, -1]  # any area, 100 detections
    table = table if number is None else table[:, :, number : number + 1]
    table = table[:, :, (table >= 0).all(axis=(0, 1))]
    if table.size == 0:
        return {}
    table = table.mean(axis=2)
    return {name: table[which].mean(axis=0) for name, which in CURVES.items()}


class ScoreCurves(NamedTuple):
    """What keeping the detections with at least a score gives at IoU 0.5: float64 [classes, 101] at
    :data:`SCORES`, NaN for classes without objects. Precision is 1 where nothing is kept."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray

    def mean_f1(self) -> np.ndarray:
        """float64 [101]: the mean of the classes that have objects; zeros without any."""
        known = ~np.isnan(self.f1[:, 0])
        return self.f1[known].mean(axis=0) if known.any() else np.zeros(len(SCORES))

    def best_score(self) -> float:
        """The score at which the mean F1 is largest."""
        return float(SCORES[int(self.mean_f1().argmax())])


def score_curves(matches: Matches) -> ScoreCurves:
    """Compute precision, recall and F1 over the score, from COCOeval's matches."""
    true, false = (_kept(matches, chosen) for chosen in matches.verdicts()[:2])
    objects = matches.positives.astype(np.float64)[:, None]
    objects[objects == 0] = np.nan
    kept = true + false
    precision = np.where(kept > 0, true / np.maximum(kept, 1), 1.0)
    return ScoreCurves(precision + 0 * objects, true / objects, 2 * true / (kept + objects))


def class_metrics(
    matches: Matches, curves: ScoreCurves, names: Sequence[str], score: float
) -> List[ClassMetrics]:
    """Return the metrics of every class.

    Args:
        matches, curves: the run.
        names: of the classes.
        score: detections with at least this score are counted.
    """
    true, false, _ = matches.verdicts(score)
    counts = np.bincount(matches.detections.classes[true | false], minlength=len(names))
    objects = matches.positives
    rows = []
    for number, name in enumerate(names):
        table = matches.precision[:, :, number, :, -1]
        tables = [table[which, :, 0] for which in CURVES.values()] + [table[:, :, area] for area in (1, 2, 3)]
        values = [None if (part < 0).any() else float(part.mean()) for part in tables]
        at = int(curves.f1[number].argmax())
        lines = (curves.f1[number], SCORES, curves.precision[number], curves.recall[number])
        values += [float(line[at]) if objects[number] else None for line in lines]
        row = dict(zip(CLASS_VALUES, values))
        rows.append(ClassMetrics(name, int(objects[number]), int(counts[number]), row))
    return rows


def _kept(matches: Matches, chosen: np.ndarray) -> np.ndarray:
    """float64 [classes, 101]: how many of the chosen detections have at least a score."""
    classes, scores = matches.detections.classes[chosen], matches.detections.scores[chosen]
    steps = np.clip(np.floor(scores * 100 + 1e-6).astype(np.int64), 0, 100)
    table = np.bincount(classes * 101 + steps, minlength=len(matches.positives) * 101).reshape(-1, 101)
    return table[:, ::-1].cumsum(axis=1)[:, ::-1].astype(np.float64)
