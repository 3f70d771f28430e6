"""Merge the shards of an evaluation.

Merge what eval-pth --shard or eval-onnx --shard have written.

The metrics and results.json are those of a single run over all images. Refuses shards of different weights,
data or protocols. If images are missing, prints the command that evaluates them. Writes into the output
folder:

  results.json    detections in COCO's results format
  metrics.json    metrics, AP by class, times for each device, and the record of the run
  journal.jsonl   the finished images of all shards
  report.html     with --report: curves, errors and pictures on a page (see centernet report)

exit status: 0 success; 1 some images could not be read; 2 missing images, or shards that do not belong
together
"""

import argparse
import logging
import os
from typing import Any, List

from ..options.fields import read_flags
from ..options.selection import DataOptions
from . import arguments as groups
from . import evaluation, setup

_log = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    default = groups.default_output('eval-pth')
    parser.add_argument(
        'folders',
        nargs='*',
        metavar='FOLDER',
        default=[default],
        help='folder of shards (shard-1-of-4 and so on), of a single shard, or with a folder of shards for'
        f' each of several checkpoints (default: {default})',
    )
    parser.add_argument('--mixed-devices', action='store_true', help='take shards of CPUs and GPUs together')
    groups.add_recorded_data(parser, 'the shards')
    group = groups.add_output(parser, 'merge')
    groups.add_report(group)
    groups.add_json(group, progress=False)


def run(arguments: Any) -> int:
    """Merge; returns the exit status."""
    setup.start(arguments)
    from ..runs.plan import open_data
    from ..runs.run import find_runs

    options = read_flags(DataOptions, arguments)
    data = open_data(options, arguments.output, need_images=arguments.report) if options.given else None
    runs = find_runs(arguments.folders)
    if list(runs) == ['']:
        return evaluation.finish(arguments, _merge(arguments, runs[''], arguments.output, data))
    found = {}
    for name, shards in runs.items():
        print(f'{name}: ', end='', file=setup.text_stream(arguments))
        found[name] = _merge(arguments, shards, os.path.join(arguments.output, name), data)
        print(file=setup.text_stream(arguments))
    return evaluation.finish_several(arguments, found)


def _merge(arguments: Any, shards: List[str], output: str, data: Any) -> Any:
    """Merge the shards of one run and print the results as text; returns the Score."""
    from ..runs.merge import merge

    found = merge(shards, output, data, arguments.mixed_devices, _log.info, evaluation.pages(arguments))
    shown = setup.counted(len(shards), 'shard')
    print(f'{shown}, {len(found.image_ids)} images\n', file=setup.text_stream(arguments))
    evaluation.show(arguments, found)
    return found
