"""Curves, and the figures of each class."""

from typing import Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from .matches import Matches

#: recalls of COCOeval's precision
RECALLS = np.linspace(0, 1, 101)
#: scores at which F1 is computed; results.json has two decimals
SCORES = np.linspace(0, 1, 101)
#: name -> which of COCOeval's IoU thresholds, 0.5, 0.55, ... 0.95, the curve averages
CURVES = {'0.50:0.95': slice(None), '0.50': 0, '0.75': 5}
_AREAS = {'small': 1, 'medium': 2, 'large': 3}
_ALL, _MOST = 0, -1  # any area, 100 detections


class ClassFigures(NamedTuple):
    """The figures of a class; None where it has no objects (of that size).

    ``objects``: annotated, without crowds. ``detections``: with at least the score of the report.
    ``best_f1``: the largest F1 at IoU 0.5, reached at ``best_score`` with ``best_precision`` and
    ``best_recall``.
    """

    name: str
    objects: int
    detections: int
    ap: Optional[float]
    ap50: Optional[float]
    ap75: Optional[float]
    small: Optional[float]
    medium: Optional[float]
    large: Optional[float]
    best_f1: Optional[float]
    best_score: Optional[float]
    best_precision: Optional[float]
    best_recall: Optional[float]


def precision_curves(matches: Matches, number: Optional[int] = None) -> Dict[str, Optional[np.ndarray]]:
    """Return the curves of :data:`CURVES` by name: float64 [101], precision at :data:`RECALLS`.

    Their means are AP, AP50 and AP75.

    Args:
        matches: the run.
        number: a class; None for the mean of all that have objects.
    """
    table = matches.precision[:, :, :, _ALL, _MOST]
    table = table[:, :, has_objects(matches)] if number is None else table[:, :, number : number + 1]
    if table.size == 0 or (table < 0).any():
        return dict.fromkeys(CURVES)
    table = table.mean(axis=2)
    curves = {}
    for name, which in CURVES.items():
        chosen = table[which]
        curves[name] = chosen.mean(axis=0) if chosen.ndim == 2 else chosen
    return curves


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
    detections, classes = matches.detections, matches.precision.shape[2]
    true = _kept(detections.classes, detections.scores, detections.is_true, classes)
    false = _kept(detections.classes, detections.scores, detections.is_false, classes)
    objects = np.bincount(matches.objects.classes, minlength=classes).astype(np.float64)[:, None]
    objects[objects == 0] = np.nan
    kept = true + false
    precision = np.where(kept > 0, true / np.maximum(kept, 1), 1.0)
    return ScoreCurves(precision + 0 * objects, true / objects, 2 * true / (kept + objects))


def class_figures(
    matches: Matches, curves: ScoreCurves, names: Sequence[str], score: float
) -> List[ClassFigures]:
    """Return the figures of every class.

    Args:
        matches, curves: the run.
        names: of the classes.
        score: detections with at least this score are counted.
    """
    detections = matches.detections
    kept = (detections.classes >= 0) & ~detections.ignored & (detections.scores >= score - 1e-9)
    counts = np.bincount(detections.classes[kept], minlength=len(names))
    objects = np.bincount(matches.objects.classes, minlength=len(names))
    figures = []
    for number, name in enumerate(names):
        table = matches.precision[:, :, number, :, _MOST]
        best = [None] * 4
        if objects[number]:
            at = int(curves.f1[number].argmax())
            best = [float(curves.f1[number, at]), float(SCORES[at])]
            best += [float(curves.precision[number, at]), float(curves.recall[number, at])]
        areas = [_mean(table[:, :, area]) for area in _AREAS.values()]
        aps = [_mean(table[which, :, _ALL]) for which in CURVES.values()]
        figures.append(ClassFigures(name, int(objects[number]), int(counts[number]), *aps, *areas, *best))
    return figures


def has_objects(matches: Matches) -> np.ndarray:
    """bool [classes]: whether a class has objects that count."""
    return np.bincount(matches.objects.classes, minlength=matches.precision.shape[2]) > 0


def _mean(table: np.ndarray) -> Optional[float]:
    return None if (table < 0).any() else float(table.mean())


def _kept(classes: np.ndarray, scores: np.ndarray, chosen: np.ndarray, count: int) -> np.ndarray:
    """Return how many of the chosen detections of each class have at least a score: float64 [count, 101]."""
    steps = np.clip(np.floor(scores[chosen] * 100 + 1e-6).astype(np.int64), 0, 100)
    table = np.bincount(classes[chosen] * 101 + steps, minlength=count * 101).reshape(count, 101)
    return table[:, ::-1].cumsum(axis=1)[:, ::-1].astype(np.float64)
