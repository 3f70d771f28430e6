"""``centernet report``: curves, errors and pictures of an evaluation, on one page."""

import argparse
import contextlib
import logging
import os
from typing import Any, TextIO

from ..files import display_path
from . import eval_pth, options, setup

_log = logging.getLogger(__name__)

NAME = 'report'
HELP = 'show curves, errors and pictures of an evaluation on a page'
DESCRIPTION = """
Makes a page from the folder of an evaluation, or from two folders a page about what differs between them: how
an export is explained. Writes into the output folder:

  report.html     figures, curves, kinds of errors, confusions, the images with the most errors; one file that
                  needs no network
  curves.csv, per_class.csv, errors.csv, confusion.csv
                  the data behind its plots

The data set is found where the evaluation found it. Without RUN, output/eval-pth is taken, after running
eval-pth if it has no results.

exit status: 0 success; 2 invalid input or options"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument(
        'run_folder',
        nargs='?',
        metavar='RUN',
        help='output folder of eval-pth or eval-onnx (default: output/eval-pth)',
    )
    parser.add_argument(
        'other', nargs='?', metavar='RUN2', help='another one, of the same images, to explain against RUN'
    )
    options.add_data_folder(parser.add_argument_group('data'), 'as recorded in RUN')
    group = options.add_output(parser, NAME, 'page')
    group.add_argument('--json', action='store_true', help='print the files as JSON; text goes to stderr')


def run(arguments: Any) -> int:
    """Make the report; returns the exit status."""
    setup.start(arguments)
    from ..report import load_run, write_report

    stream = setup.text_stream(arguments)
    given = (arguments.data, arguments.annotations, arguments.images)
    folders = [arguments.run_folder or _evaluated(stream), arguments.other]
    runs = [load_run(folder, *given) for folder in folders if folder]
    files = write_report(arguments.output, *runs)
    print('report of {}'.format(' and '.join(item.name for item in runs)), file=stream)
    setup.print_files(files, stream)
    if arguments.json:
        setup.print_json({'files': [display_path(path) for path in files]})
    return 0


def _evaluated(stream: TextIO) -> str:
    """Return the output folder of eval-pth, after running it if it has no results."""
    from ..evaluation.summary import METRICS_NAME

    folder = options.default_output(eval_pth.NAME)
    if not os.path.exists(os.path.join(folder, METRICS_NAME)):
        _log.info('no RUN, and %s has no results: running eval-pth first', folder)
        parser = argparse.ArgumentParser()
        eval_pth.add_options(parser)
        with contextlib.redirect_stdout(stream):
            eval_pth.run(parser.parse_args([]))
            print()
    return folder
