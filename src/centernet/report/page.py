"""The report as one HTML page."""

import os
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import jinja2
import numpy as np

from .. import __version__
from ..coco import STAT_NAMES
from ..evaluation.timings import STAGES
from .analysis import Analysis
from .command import repeat_command
from .curves import CURVES, RECALLS, SCORES, precision_curves
from .errors import KINDS
from .images import Change, compare_images, mark_images, worst_images
from .pictures import Picture, View, load_pictures, make_view
from .settings import network_name, settings
from .svg import Series, heat_map, line_chart, small_chart

#: pictures of a page; confusions between classes that are listed
PICTURES, _CONFUSIONS = 24, 20
#: a confusion matrix with more classes is drawn, not written
_WRITTEN = 20
_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'templates')
#: what each of the twelve figures is
_TITLES = dict(
    zip(
        STAT_NAMES,
        (
            'average precision, IoU 0.50 to 0.95',
            'average precision, IoU 0.50',
            'average precision, IoU 0.75',
            'average precision, small objects (less than 32 x 32)',
            'average precision, medium objects',
            'average precision, large objects (more than 96 x 96)',
            'average recall, 1 detection per image and class',
            'average recall, 10 detections per image and class',
            'average recall, 100 detections per image and class',
            'average recall, small objects',
            'average recall, medium objects',
            'average recall, large objects',
        ),
    )
)
_STAGES = {
    'load': 'read the file',
    'pre': 'preprocess',
    'net': 'network',
    'dec': 'decode',
    'post': 'postprocess',
}


class Figure(NamedTuple):
    """A picture on the page: ``views`` has one for each run; ``change``: what differs between them."""

    picture: Picture
    views: List[View]
    change: Optional[Change]


def render(analyses: Sequence[Analysis]) -> Tuple[str, List[str]]:
    """Return the page, and a line for each picture that could not be read.

    Args:
        analyses: of one run, or of two runs of the same images: the second is compared with the first.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(figure=_figure, signed=_signed, percent=_percent, share=_share)
    runs = [item.run for item in analyses]
    figures, changes, problems = _pictures(analyses)
    page = environment.get_template('report.html').render(
        title=network_name(runs[-1]),
        version=__version__,
        labels=['A', 'B'][: len(runs)] if len(runs) > 1 else [''],
        analyses=analyses,
        is_pair=len(runs) > 1,
        names=[network_name(run) for run in runs],
        commands=[repeat_command(run) for run in runs],
        settings=settings(runs),
        stat_names=STAT_NAMES,
        stat_titles=_TITLES,
        kinds=KINDS,
        largest_error=max([1.0] + [max(item.errors.weights.values()) for item in analyses]),
        largest_stage=_largest_stage(analyses),
        stages=[(stage, _STAGES[stage]) for stage in STAGES],
        precision_charts=_precision_charts(analyses),
        class_charts=_class_charts(analyses),
        score_chart=_score_chart(analyses),
        heat_maps=[_heat_map(item) for item in analyses],
        confusions=[item.confusion.largest(_CONFUSIONS) for item in analyses],
        figures=figures,
        changes=changes,
    )
    return page, problems


def _precision_charts(analyses: Sequence[Analysis]) -> List[Tuple[str, Any]]:
    """The chart of the mean curves: all of one run, or one chart for each IoU with both runs."""
    curves = [precision_curves(item.matches) for item in analyses]
    if any(curve is None for curve in curves[0].values()):
        return []
    labels = ('recall', 'precision')
    if len(analyses) == 1:
        lines = [Series(name, curve, number) for number, (name, curve) in enumerate(curves[0].items(), 1)]
        title = 'Precision over recall, mean of the classes; ' + _describe(lines)
        return [('', line_chart(title, lines, RECALLS, labels))]
    charts = []
    for name in CURVES:
        lines = [Series(label, curve[name], number) for number, label, curve in zip((1, 2), 'AB', curves)]
        title = f'Precision over recall at IoU {name}; ' + _describe(lines)
        charts.append((name, line_chart(title, lines, RECALLS, labels)))
    return charts


def _describe(lines: Sequence[Series]) -> str:
    return ', '.join(f'{line.name}: area {line.values.mean():.3f}' for line in lines)


def _class_charts(analyses: Sequence[Analysis]) -> List[Tuple[str, Any]]:
    """A small chart for each class with objects: one run's three curves, or both runs' at 0.50:0.95."""
    charts = []
    for number, name in enumerate(analyses[0].class_names):
        curves = [precision_curves(item.matches, number) for item in analyses]
        if any(curve is None for item in curves for curve in item.values()):
            continue
        if len(analyses) == 1:
            lines = [Series(key, curve, style) for style, (key, curve) in enumerate(curves[0].items(), 1)]
        else:
            key = next(iter(CURVES))
            lines = [Series(label, item[key], style) for style, label, item in zip((1, 2), 'AB', curves)]
        charts.append((name, small_chart(f'{name}; ' + _describe(lines), lines, RECALLS)))
    return charts


def _score_chart(analyses: Sequence[Analysis]) -> Any:
    labels = 'AB' if len(analyses) > 1 else ['mean F1']
    lines = [
        Series(label, item.curves.mean_f1(), style) for style, label, item in zip((1, 2), labels, analyses)
    ]
    best = ', '.join(
        f'{line.name}: at most {line.values.max():.3f}, at {item.score:.2f}'
        for line, item in zip(lines, analyses)
    )
    axes = ('score', 'F1 at IoU 0.50')
    return line_chart(f'F1 over the score; {best}', lines, SCORES, axes, mark=analyses[-1].score)


def _heat_map(analysis: Analysis) -> Any:
    names = analysis.class_names
    if len(names) <= _WRITTEN:
        return None
    table = analysis.confusion.table
    title = f'Confusion matrix of {len(names)} classes; the rows are the annotated classes'
    return heat_map(title, table, [*names, 'nothing'])


def _pictures(analyses: Sequence[Analysis]) -> Tuple[List[Figure], List[Change], List[str]]:
    """Return the pictures of the page, the images that differ between two runs (the most first), and
    problems."""
    image_ids, changes = analyses[0].run.image_ids, []
    if len(analyses) == 1:
        chosen = worst_images(analyses[0].matches, analyses[0].score, image_ids, PICTURES)
    else:
        scores = [item.score for item in analyses]
        found = compare_images(analyses[0].matches, analyses[1].matches, scores, image_ids)
        changes = sorted((item for item in found if item.changes), key=_importance)
        chosen = [item.image_id for item in changes[:PICTURES]]
    pictures, problems = load_pictures(analyses[0].run.data, chosen)
    marks = [mark_images(item.matches, item.score, chosen) for item in analyses]
    by_id = {item.image_id: item for item in changes}
    figures = [
        Figure(
            picture,
            [make_view(errors[picture.image_id], picture.size, analyses[0].class_names) for errors in marks],
            by_id.get(picture.image_id),
        )
        for picture in pictures
    ]
    return figures, changes, problems


def _importance(change: Change) -> Tuple[int, int]:
    """A key that sorts the largest change of errors first, then the most changed detections."""
    return -abs(change.gain), -change.changes


def _largest_stage(analyses: Sequence[Analysis]) -> float:
    runs = [item.run.document['timings']['stages_ms'] for item in analyses]
    return max([1e-9] + [times[stage]['mean'] for times in runs for stage in STAGES])


def _figure(value: Optional[float]) -> str:
    return 'n/a' if value is None else f'{value:.3f}'


def _signed(values: Sequence[Optional[float]]) -> str:
    """The difference of two figures."""
    if None in values:
        return 'n/a'
    difference = values[1] - values[0]
    return f'{difference:+.3f}' if abs(difference) >= 0.0005 else '0.000'


def _percent(value: Optional[float]) -> str:
    """A width for CSS."""
    return f'{100 * min(max(value or 0, 0), 1):.1f}%'


def _share(table: np.ndarray, row: int, column: int) -> str:
    """How much of its row a cell is, for CSS."""
    return f'{table[row, column] / max(table[row].sum(), 1):.2f}'
