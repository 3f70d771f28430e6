"""``centernet merge``: the figures of a run that several machines have divided."""

import argparse
import os
import shlex
from typing import Any, List

from ..errors import OptionError
from ..files import display_path
from . import compare, eval_pth, eval_shared, options, setup

NAME = 'merge'
HELP = 'merge the shards of an evaluation'
DESCRIPTION = """Merge what eval-pth --shard or eval-onnx --shard have written.

The figures and results.json are those of one run over all images. Refuses shards of different weights, data,
protocols or versions. If images are missing, prints the command that evaluates them. Writes into the output
folder:

  results.json    detections in COCO's results format
  metrics.json    figures, AP by class, times for each device, and what made them
  report.html     with --report: curves, errors and pictures on a page (see centernet report)

exit status: 0 success; 1 some images could not be read; 2 missing images, or shards that do not belong
together"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    default = options.default_output(eval_pth.NAME)
    parser.add_argument(
        'folders',
        nargs='*',
        metavar='FOLDER',
        default=[default],
        help='folder of shards (shard-1-of-4 and so on), of a single shard, or with a folder of shards for'
        f' each of several checkpoints (default: {default})',
    )
    parser.add_argument(
        '--mixed-devices',
        action='store_true',
        help='take shards from CPUs and GPUs together; their detections differ by rounding',
    )
    options.add_data_folder(parser.add_argument_group('data'), 'as recorded in the shards')
    group = options.add_output(parser, NAME)
    options.add_report(group)
    group.add_argument('--json', action='store_true', help='print the results as JSON; text goes to stderr')


def run(arguments: Any) -> int:
    """Merge; returns the exit status."""
    setup.start(arguments)
    from ..coco import CocoData
    from ..evaluation.run_folders import find_runs

    data = None
    if arguments.data or arguments.annotations:
        data = CocoData.load(arguments.data, arguments.annotations, arguments.images, need_images=False)
    runs = find_runs(arguments.folders)
    if list(runs) == ['']:
        return eval_shared.finish(arguments, _merge(arguments, runs[''], arguments.output, data))
    found = {}
    for name, shards in runs.items():
        print(f'{name}: ', end='', file=setup.text_stream(arguments))
        found[name] = _merge(arguments, shards, os.path.join(arguments.output, name), data)
        print(file=setup.text_stream(arguments))
    return compare.finish(arguments, found)


def _merge(arguments: Any, shards: List[str], output: str, data: Any) -> Any:
    """Merge the shards of one run and print the results as text; returns the Evaluation."""
    from ..evaluation import format_report
    from ..evaluation.merge import MissingImages, merge
    from ..report import load_run, remove_report, write_report

    remove_report(output)
    try:
        found = merge(shards, output, data, arguments.mixed_devices)
    except MissingImages as error:
        raise OptionError(f'{error}; evaluate them, and merge again: {_command(error)}') from None
    stream = setup.text_stream(arguments)
    count = '1 shard' if len(shards) == 1 else f'{len(shards)} shards'
    print(f'{count}, {found.document["images"]} images', file=stream)
    print(file=stream)
    print(format_report(found.metrics, found.timings, found.failed), file=stream)
    print(file=stream)
    files = list(found.files)
    if arguments.report:
        given = (arguments.data, arguments.annotations, arguments.images)
        files += write_report(output, load_run(output, *given))
    setup.print_files(files, stream)
    return found


def _command(missing: Any) -> str:
    """The command that resumes the first missing shard, or the run if it was not divided."""
    from ..report.command import data_words, evaluation_words, is_sample

    part, data = missing.part, missing.data
    recorded, selection = part.entry('data'), part.entry('selection')
    categories = [category and category[0] for category in recorded['channels']]
    sample = is_sample(part.folder, recorded['annotations'])
    images = [] if selection['ids'] is None else ['--ids', ','.join(map(str, selection['ids']))]
    if selection['limit'] is not None:
        images += ['--limit', str(selection['limit'])]
    folder = os.path.normpath(part.folder)
    if missing.shards:
        images += ['--shard', str(missing.shards[0])]
        folder = os.path.dirname(folder)
    words = evaluation_words(
        part.entry('network'),
        part.content.fingerprint['protocol'],
        [] if sample else data_words(data, recorded, categories),
        images,
    )
    return ' '.join(map(shlex.quote, [*words, '--output', display_path(folder), '--resume']))
