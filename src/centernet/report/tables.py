"""The data behind the plots, as CSV files."""

import csv
import io
from typing import Any, Dict, Iterable, Sequence

import numpy as np

from .analysis import Analysis
from .curves import RECALLS, SCORES, ClassFigures, precision_curves

_MEAN = '(mean)'
#: names of the files
TABLES = ('curves.csv', 'per_class.csv', 'errors.csv', 'confusion.csv')


def make_tables(analyses: Sequence[Analysis]) -> Dict[str, str]:
    """Return file name -> content. The column ``run`` has the folder of the run."""
    fields = ['class' if name == 'name' else name for name in ClassFigures._fields]
    classes = ((item.run.name, *row) for item in analyses for row in item.classes)
    errors = (
        (item.run.name, kind, weight, item.errors.counts[kind])
        for item in analyses
        for kind, weight in item.errors.weights.items()
    )
    contents = (
        _write(('run', 'class', 'curve', 'x', 'y'), _curves(analyses)),
        _write(('run', *fields), classes),
        _write(('run', 'kind', 'gain_of_ap50_percent', 'errors'), errors),
        _write(('run', 'annotated', 'detected', 'count'), _confusion(analyses)),
    )
    return dict(zip(TABLES, contents))


def _curves(analyses: Sequence[Analysis]) -> Iterable[Sequence[Any]]:
    """``precision over recall`` at an IoU; ``precision``, ``recall`` and ``f1 over score`` at IoU 0.50."""
    for item in analyses:
        lines = [
            (name, f'precision over recall at IoU {curve}', RECALLS, values)
            for number, name in [(None, _MEAN), *enumerate(item.class_names)]
            for curve, values in precision_curves(item.matches, number).items()
            if values is not None
        ]
        lines.append((_MEAN, 'f1 over score', SCORES, item.curves.mean_f1()))
        for field, table in item.curves._asdict().items():
            lines += [
                (name, f'{field} over score', SCORES, values)
                for name, values in zip(item.class_names, table)
                if not np.isnan(values).any()
            ]
        for name, curve, positions, values in lines:
            for x, y in zip(positions, values):
                yield item.run.name, name, curve, f'{x:.2f}', f'{y:.6f}'


def _confusion(analyses: Sequence[Analysis]) -> Iterable[Sequence[Any]]:
    for item in analyses:
        rows, columns = [*item.class_names, '(nothing)'], [*item.class_names, '(missed)']
        for row, annotated in enumerate(rows):
            for column, detected in enumerate(columns):
                count = int(item.confusion.table[row, column])
                if count:
                    yield item.run.name, annotated, detected, count


def _write(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(header)
    writer.writerows(['' if value is None else value for value in row] for row in rows)
    return text.getvalue()
