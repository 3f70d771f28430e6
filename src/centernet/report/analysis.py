"""Everything that a report says about one run."""

from typing import List, NamedTuple

import numpy as np

from .confusion import confusion
from .curves import ClassMetrics, ScoreCurves, class_metrics, score_curves
from .errors import ErrorWeights, error_weights
from .matches import Matches, match
from .run import Run


class Analysis(NamedTuple):
    """``run``: the evaluation. ``matches``: COCOeval's tables and matches. ``curves``: over the score.
    ``score``: the one with the best mean F1; counts, confusions and pictures are of the detections that have
    at least this score. ``class_names``: of the evaluated ones. ``classes``: metrics of each class.
    ``errors``: TIDE's. ``confusion``: see :func:`~centernet.report.confusion.confusion`."""

    run: Run
    matches: Matches
    curves: ScoreCurves
    score: float
    class_names: List[str]
    classes: List[ClassMetrics]
    errors: ErrorWeights
    confusion: np.ndarray


def analyse(run: Run) -> Analysis:
    """Analyse a run.

    Raises:
        DataError: its results.json and metrics.json do not belong together.
    """
    matches = match(run)
    curves = score_curves(matches)
    score = curves.best_score()
    names = [name for _, name in run.data.evaluated]
    classes = class_metrics(matches, curves, names, score)
    errors = error_weights(matches)
    return Analysis(run, matches, curves, score, names, classes, errors, confusion(matches, score))
