"""Curves, errors and pictures of an evaluation, or what differs between two, on one HTML page.

:func:`load_run` reads the folder of an evaluation, and :func:`write_report` makes report.html and the CSV
files beside it.
"""

from .analysis import Analysis, analyse
from .run import Run, load_run, make_run
from .write import write_page_of, write_report

__all__ = ['Analysis', 'Run', 'analyse', 'load_run', 'make_run', 'write_page_of', 'write_report']
