"""The report as one HTML page."""

import os
from typing import Any, Dict, List, Sequence, Tuple

import jinja2
import numpy as np

from ..version import __version__
from . import charts, tables
from .analysis import Analysis
from .confusion import most_confused
from .images import Change, compare_images, worst_images
from .pictures import load_pictures, make_view

#: pictures of a page; confusions between classes that are listed
PICTURES, _CONFUSIONS = 24, 20
_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'templates')


def render(analyses: Sequence[Analysis]) -> Tuple[str, List[str]]:
    """Return the page, and a line for each picture that could not be read.

    Args:
        analyses: of one run, or of two runs of the same images: the second is compared with the first.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.undefined = jinja2.StrictUndefined
    environment.filters['metric'] = tables.format_metric
    chosen, changes = _choose_images(analyses)
    pictures, problems = load_pictures(analyses[0].run.data, chosen)
    page = environment.get_template('report.html').render(
        version=__version__,
        is_pair=len(analyses) > 1,
        runs=[_describe(item, label) for item, label in zip(analyses, 'AB' if len(analyses) > 1 else [''])],
        analyses=analyses,
        tables=tables,
        charts=charts,
        changes=changes,
        pictures=[
            (picture, [make_view(item.matches, item.score, picture, item.class_names) for item in analyses])
            for picture in pictures
        ],
    )
    return page, problems


def _describe(analysis: Analysis, label: str) -> Dict[str, Any]:
    """What the page says about a run; ``shares``: of each row of the confusion matrix."""
    table = analysis.confusion
    return {
        'label': label,
        'analysis': analysis,
        'cells': np.argwhere(table),
        'shares': table / np.maximum(table.sum(axis=1, keepdims=True), 1),
        'confused': most_confused(table, _CONFUSIONS),
    }


def _choose_images(analyses: Sequence[Analysis]) -> Tuple[List[int], List[Change]]:
    """Return the images whose pictures are on the page, and what differs between two runs: the largest change
    of errors first, then the most changed detections."""
    first, *others = analyses
    if not others:
        return worst_images(first.matches, first.score, PICTURES), []
    found = compare_images(first.matches, others[0].matches, (first.score, others[0].score))
    changes = [item for item in found if item.changes]
    changes.sort(key=lambda item: (-abs(item.gain), -item.changes))
    return [item.image_id for item in changes[:PICTURES]], changes
