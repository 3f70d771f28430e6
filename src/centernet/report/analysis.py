"""Everything that a report says about one run."""

from typing import List, NamedTuple

from .confusion import Confusion, confusion
from .curves import ClassFigures, ScoreCurves, class_figures, score_curves
from .errors import ErrorWeights, error_weights
from .matches import Matches, match
from .run import Run


class Analysis(NamedTuple):
    """``run``: the evaluation. ``matches``: COCOeval's tables and matches. ``curves``: over the score.
    ``score``: the one with the best mean F1; counts, confusions and pictures are of the detections that have
    at least this score. ``classes``: figures of each class. ``errors``: TIDE's. ``confusion``: between
    classes."""

    run: Run
    matches: Matches
    curves: ScoreCurves
    score: float
    classes: List[ClassFigures]
    errors: ErrorWeights
    confusion: Confusion

    @property
    def class_names(self) -> List[str]:
        """Names of the evaluated classes."""
        return [name for _, name in self.run.data.evaluated]


def analyse(run: Run) -> Analysis:
    """Analyse a run.

    Raises:
        DataError: its results.json and metrics.json do not belong together.
    """
    matches = match(run)
    curves = score_curves(matches)
    score = curves.best_score()
    names = [name for _, name in run.data.evaluated]
    return Analysis(
        run,
        matches,
        curves,
        score,
        class_figures(matches, curves, names, score),
        error_weights(run, matches),
        confusion(matches, score),
    )
