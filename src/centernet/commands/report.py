"""Show curves, errors and pictures of an evaluation on a page.

Makes a page from the folder of an evaluation, or from two folders a page about what differs between them: how
an export is explained. Writes into the output folder:

  report.html     metrics, curves, kinds of errors, confusions, the images with the most errors; one file that
                  needs no network
  curves.csv, per_class.csv, errors.csv, confusion.csv
                  the data behind its plots

The data set is found where the evaluation found it. Without RUN, output/eval-pth is taken, after running
eval-pth if it has no results.

exit status: 0 success; 2 invalid input or options
"""

import argparse
import logging
import os
from typing import Any, Tuple

from ..options.fields import of_environment, read_flags
from ..options.selection import DataOptions, NetworkOptions
from ..system.files import display_path
from . import arguments as groups
from . import setup

_log = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument(
        'run_folder', nargs='?', metavar='RUN', help='an evaluation (default: output/eval-pth)'
    )
    parser.add_argument('other', nargs='?', metavar='RUN2', help='another one, to explain against RUN')
    groups.add_recorded_data(parser, 'RUN')
    groups.add_json(groups.add_output(parser, 'report', 'page'), progress=False)


def run(arguments: Any) -> int:
    """Make the report; returns the exit status."""
    setup.start(arguments)
    from ..report import load_run, write_report

    stream = setup.text_stream(arguments)
    data = read_flags(DataOptions, arguments)
    folder, status = arguments.run_folder, 0
    if folder is None:
        folder, status = _evaluate_sample()
    runs = [load_run(item, data) for item in (folder, arguments.other) if item]
    files = write_report(arguments.output, *runs)
    print('report of', ' and '.join(item.name for item in runs), file=stream)
    setup.print_files(files, stream)
    if arguments.json:
        setup.print_json({'files': [display_path(path) for path in files]})
    return status


def _evaluate_sample() -> Tuple[str, int]:
    """The output folder of eval-pth, after evaluating the checkpoint of WEIGHTS, or the sample's, if it has
    no results; and the exit status of that."""
    from ..runs.evaluate import evaluate
    from ..runs.plan import Plan, prepare, weights_or_sample
    from ..runs.run import METRICS_NAME

    folder = groups.default_output('eval-pth')
    if os.path.exists(os.path.join(folder, METRICS_NAME)):
        return folder, 0
    _log.info('no RUN, and %s has no results: evaluating %s', folder, 'WEIGHTS, else the sample')
    network_options, data = of_environment(NetworkOptions), of_environment(DataOptions)
    path = weights_or_sample(network_options.weights, data.given)
    plan = Plan(file=path, network=network_options, data=data)
    network, coco, record = prepare(plan, folder)
    return folder, evaluate(network, coco, record, folder).exit_status
