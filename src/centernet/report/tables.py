"""The tables of the page."""

import itertools
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from ..coco import STAT_NAMES
from ..coco.metrics import conditions
from ..runs.timings import STAGES
from .analysis import Analysis
from .curves import APS
from .errors import KINDS
from .images import Change

_KINDS_OF_METRICS = {'AP': 'average precision', 'AR': 'average recall'}
_STAGES = dict(zip(STAGES, ('read the file', 'preprocess', 'network', 'decode', 'postprocess')))


class Table(NamedTuple):
    """A table. ``heads``: names of the columns; the one called ``bar`` has bars. ``rows``: their name, a note
    on it, and the cells: texts, or for bars a list of numbers up to 1. ``kind``: CSS class of the cells."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Tuple[str, str, Sequence[Any]]]
    kind: str = 'number'
    is_sortable: bool = False


def metrics_table(analyses: Sequence[Analysis]) -> Table:
    """COCO's twelve metrics."""
    rows = []
    for name in STAT_NAMES:
        iou, area, limit = conditions(name)
        title = f'{_KINDS_OF_METRICS[name[:2]]}, IoU {iou}, {area} objects, {limit} detections'
        values = [item.matches.metrics.stats[name] for item in analyses]
        rows.append((name, title, [*_with_difference(values), values]))
    heads = ['A', 'B', 'difference'] if len(analyses) > 1 else ['value']
    caption = "COCO's twelve metrics; small: below 32 x 32 pixels, large: above 96 x 96"
    return Table(caption, ['metric', *heads, 'bar'], rows)


def class_table(analyses: Sequence[Analysis]) -> Table:
    """Metrics of each class; but for AP, those of the last run."""
    rows = []
    for items in zip(*(item.classes for item in analyses)):
        name, objects, detections, values = items[-1]
        aps = [item.values['ap'] for item in items]
        cells = [objects, detections, *_with_difference(aps), aps]
        cells += [format_metric(values[key]) for key in (*APS[1:], 'best_f1')]
        cells.append(format_metric(values['best_score'])[:4])  # it has two decimals
        rows.append((name, '', cells))
    aps = ['AP of A', 'AP of B', 'difference'] if len(analyses) > 1 else ['AP']
    others = ['AP50', 'AP75', 'small', 'medium', 'large', 'best F1', 'at score']
    heads = ['class', 'objects', 'detections', *aps, 'bar', *others]
    return Table('Metrics of each class', heads, rows, is_sortable=True)


def error_table(analyses: Sequence[Analysis]) -> Table:
    """TIDE's errors."""
    largest = max([1.0] + [max(item.errors.weights.values()) for item in analyses])
    rows = []
    for kind, meaning in KINDS.items():
        gains = [item.errors.weights[kind] for item in analyses]
        pairs = [(f'{gain:.2f}', item.errors.counts[kind]) for gain, item in zip(gains, analyses)]
        rows.append((kind, meaning, [*itertools.chain(*pairs), [gain / largest for gain in gains]]))
    return Table('Errors by kind', ['kind', *_each(analyses, 'gain', 'errors'), 'bar'], rows)


def change_table(changes: Sequence[Change]) -> Table:
    """What differs between two runs on images."""
    caption = 'Errors (false detections and missed objects) and changes by image'
    if len(changes) > 100:
        caption += '; the 100 images that differ most'
    rows = [(item[0], '', (*item[4:], *item[1:4])) for item in changes[:100]]
    heads = ('image', 'errors of A', 'errors of B', 'only in A', 'only in B', 'changed')
    return Table(caption, heads, rows, is_sortable=True)


def time_table(analyses: Sequence[Analysis]) -> Table:
    """Times of the stages of an evaluation."""
    documents = [item.run.document['timings']['stages_ms'] for item in analyses]
    largest = max(1e-9, *(times[stage]['mean'] for times in documents for stage in STAGES))
    rows = []
    for stage, meaning in _STAGES.items():
        times = [document[stage] for document in documents]
        cells = [f'{time[name]:.2f}' for time in times for name in ('mean', 'median', 'p95')]
        rows.append((meaning, '', [*cells, [time['mean'] / largest for time in times]]))
    caption = 'Milliseconds per image; loader processes read and preprocess while the network runs'
    return Table(caption, ['stage', *_each(analyses, 'mean', 'median', '95 %'), 'bar'], rows)


def settings_table(analyses: Sequence[Analysis]) -> Table:
    """What made the runs."""
    heads = ['A', 'B', 'differs'] if len(analyses) > 1 else ['value']
    runs = [dict(item.run.rows()) for item in analyses]
    rows = []
    for name in dict.fromkeys(name for run in runs for name in run):
        values = [run.get(name) for run in runs]
        marks = ['differs' if len(set(values)) > 1 else ''] if len(runs) > 1 else []
        rows.append((name, '', [value or '' for value in [*values, *marks]]))
    return Table('What made the metrics', ['setting', *heads], rows, kind='value')


def format_metric(value: Optional[float]) -> str:
    """Format a metric; None where it does not exist."""
    return 'n/a' if value is None else f'{value:.3f}'


def format_difference(values: Sequence[Optional[float]]) -> str:
    """Format the difference of two metrics."""
    if None in values:
        return 'n/a'
    difference = values[1] - values[0]
    return f'{difference:+.3f}' if abs(difference) >= 0.0005 else '0.000'


def _with_difference(values: Sequence[Optional[float]]) -> List[str]:
    difference = [format_difference(values)] if len(values) > 1 else []
    return [*map(format_metric, values), *difference]


def _each(analyses: Sequence[Analysis], *names: str) -> List[str]:
    """The names of the columns that each run has."""
    labels = [' A', ' B'] if len(analyses) > 1 else ['']
    return [name + label for label in labels for name in names]
