"""The files of a report."""

import logging
import os
from typing import List, Optional

from ..errors import OptionError
from ..files import atomic_write, ensure_folder, remove_file
from .analysis import analyse
from .page import render
from .run import Run
from .tables import TABLES, make_tables

PAGE_NAME = 'report.html'
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
    runs = [run] if other is None else [run, other]
    if other is not None:
        _check_same(run, other)
    analyses = [analyse(item) for item in runs]
    page, problems = render(analyses)
    for problem in problems:
        _log.warning('not on the page: %s', problem)
    folder = ensure_folder(folder)
    paths = []
    for name, content in [(PAGE_NAME, page), *make_tables(analyses).items()]:
        paths.append(os.path.join(folder, name))
        with atomic_write(paths[-1]) as file:
            file.write(content)
    return paths


def remove_report(folder: str) -> None:
    """Remove the files of an earlier report, which are not about what will be in the folder now.

    Raises:
        OutputError: a file cannot be removed.
    """
    for name in (PAGE_NAME, *TABLES):
        remove_file(os.path.join(folder, name))


def _check_same(run: Run, other: Run) -> None:
    if run.document['data']['annotations_sha256'] != other.document['data']['annotations_sha256']:
        raise OptionError(f'{run.name} and {other.name} were evaluated on different annotations')
    if run.image_ids != other.image_ids:
        raise OptionError(
            f'{run.name} ({len(run.image_ids)} images) and {other.name} ({len(other.image_ids)}) were not'
            ' evaluated on the same images: evaluate both with the same --limit or --ids'
        )
    if run.data.evaluated != other.data.evaluated:
        raise OptionError(f'{run.name} and {other.name} have different classes')
