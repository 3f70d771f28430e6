"""The files of a report."""

import csv
import logging
import os
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence

import numpy as np

from ..coco import CocoData
from ..runs import run as folders
from ..system.errors import OptionError
from ..system.files import atomic_write, ensure_folder
from .analysis import Analysis, analyse
from .curves import CLASS_VALUES, RECALLS, precision_curves
from .page import render
from .run import Run, make_run

PAGE_NAME = 'report.html'
_MEAN = '(mean)'
_log = logging.getLogger(__name__)


def write_report(folder: str, run: Run, other: Optional[Run] = None) -> List[str]:
    """Write report.html, and the data behind its plots as CSV files.

    Args:
        folder: created if missing.
        run: the evaluation.
        other: a second evaluation of the same images. The report is then about what differs from ``run``.

    Returns:
        The paths of the files, report.html first.

    Raises:
        OptionError: the two are not of the same images, annotations and classes.
        DataError: the files of a run do not belong together.
        OutputError: a file cannot be written.
    """
    folder = ensure_folder(folder)
    return _write([run] if other is None else [run, other], lambda name: os.path.join(folder, name))


def write_page_of(
    opened: folders.Run, data: CocoData, document: Dict[str, Any], before: Sequence[Run] = ()
) -> List[str]:
    """Write the report of a run that has just been scored into its folder; returns the paths of the files.
    ``before``: another run, which it is compared with."""
    return _write([*before, make_run(opened, data, document)], opened.target)


def _write(runs: Sequence[Run], target: Callable[[str], str]) -> List[str]:
    _check_same(runs[0], runs[-1])
    analyses = [analyse(item) for item in runs]
    page, problems = render(analyses)
    for problem in problems:
        _log.warning('not on the page: %s', problem)
    paths = [target(name) for name in (PAGE_NAME, *_COLUMNS)]
    with atomic_write(paths[0]) as file:
        file.write(page)
    for path, header, tables in zip(paths[1:], _COLUMNS.values(), zip(*map(_tables, analyses))):
        with atomic_write(path) as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(('run', *header))
            for item, rows in zip(analyses, tables):
                writer.writerows((item.run.name, *row) for row in rows)
    return paths


def _check_same(run: Run, other: Run) -> None:
    differing = {
        'different annotations': run.record.data.sha256 != other.record.data.sha256,
        'not the same images: evaluate both with the same --limit or --ids': run.image_ids != other.image_ids,
        'different classes': run.data.evaluated != other.data.evaluated,
    }
    for what, differs in differing.items():
        if differs:
            raise OptionError(f'{run.name} and {other.name} were evaluated on {what}')


def _curves(analysis: Analysis) -> Iterator[Sequence[Any]]:
    """``precision over recall`` at an IoU; ``precision``, ``recall`` and ``f1 over score`` at IoU 0.50."""
    names = analysis.class_names
    lines = [
        (name, f'precision over recall at IoU {curve}', values)
        for number, name in [(None, _MEAN), *enumerate(names)]
        for curve, values in precision_curves(analysis.matches, number).items()
    ]
    lines.append((_MEAN, 'f1 over score', analysis.curves.mean_f1()))
    for field, table in analysis.curves._asdict().items():
        lines += [(name, f'{field} over score', values) for name, values in zip(names, table)]
    for name, curve, values in lines:
        if not np.isnan(values).any():
            for x, y in zip(RECALLS, values):
                yield name, curve, f'{x:.2f}', f'{y:.6f}'


def _tables(analysis: Analysis) -> List[Iterable[Sequence[Any]]]:
    """Return the rows of the files in :data:`_COLUMNS`."""
    rows, columns = [*analysis.class_names, '(nothing)'], [*analysis.class_names, '(missed)']
    found = np.argwhere(analysis.confusion)
    _, weights, counts = analysis.errors
    return [
        _curves(analysis),
        [(*item[:3], *item.values.values()) for item in analysis.classes],
        [(kind, weight, counts[kind]) for kind, weight in weights.items()],
        [(rows[row], columns[column], analysis.confusion[row, column]) for row, column in found],
    ]


#: name of the file -> its columns after ``run``, which has the folder of the run
_COLUMNS = {
    'curves.csv': ('class', 'curve', 'x', 'y'),
    'per_class.csv': ('class', 'objects', 'detections', *CLASS_VALUES),
    'errors.csv': ('kind', 'gain_of_ap50_percent', 'errors'),
    'confusion.csv': ('annotated', 'detected', 'count'),
}
