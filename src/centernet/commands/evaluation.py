"""Prints the twelve COCO metrics and the time of each stage. Writes into the output folder:

  results.json    detections in COCO's results format
  metrics.json    metrics, AP by class, times, and the record of the run
  journal.jsonl   the finished images, for --resume
  report.html     with --report: curves, errors and pictures on a page (see centernet report)

Without --data, the built-in sample is evaluated.

exit status: 0 success; 1 some images could not be read, or a loader process died; 2 invalid input or options;
130 or 143 interrupted (--resume continues)
"""

import argparse
import os
from typing import Any, Dict, List

from ..options.fields import add_flags
from ..options.selection import Loading
from ..system.errors import OptionError
from ..system.files import display_path
from ..system.shards import WHOLE
from . import arguments as groups
from . import setup

# What eval-pth and eval-onnx share, the end of their help above: everything but which file is evaluated.

#: columns of the table of several checkpoints
_METRICS = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'AR100')


def add_options(parser: argparse.ArgumentParser, command: str) -> None:
    """Add the options that both commands have, after those of the network."""
    groups.add_data(parser)
    groups.add_protocol(parser)
    groups.add_loading(parser)
    groups.add_dask(groups.add_shard(parser))
    group = groups.add_output(parser, command)
    groups.add_resume(group)
    add_flags(group, Loading, 'on_bad_image', 'save_images')
    groups.add_report(group)
    groups.add_json(group)


def run(arguments: Any, path: str) -> Any:
    """Evaluate a network's file and print the results as text; returns the Score. :func:`.setup.start`
    comes first."""
    from ..networks.runtimes import find_runtime
    from ..runs.evaluate import evaluate
    from ..runs.plan import headline, prepare, warn_of_normalization

    command = find_runtime(path).command
    if command != arguments.command:
        raise OptionError(f'centernet {command} evaluates {display_path(path)}, not {arguments.command}')
    plan = setup.read_plan(arguments, path)
    if arguments.dask:
        found = _on_cluster(arguments, plan)
    else:
        network, data, record = prepare(plan, arguments.output)
        print('\n'.join(headline(record, plan.protocol, data)), file=setup.text_stream(arguments))
        warn_of_normalization(network, data, record)
        about = arguments.output, arguments.resume, not arguments.no_progress, pages(arguments)
        found = evaluate(network, data, record, *about)
    show(arguments, found)
    return found


def show(arguments: Any, found: Any) -> None:
    """Print a Score as text."""
    from ..runs.present import format_score

    stream = setup.text_stream(arguments)
    print(format_score(found), file=stream)
    print(file=stream)
    setup.print_files(found.files, stream)


def pages(arguments: Any) -> Any:
    """What makes the page of a run, if --report asks for it."""
    from ..report import write_page_of

    return write_page_of if arguments.report else None


def finish(arguments: Any, found: Any) -> int:
    """Print a Score as JSON, if that is wanted; returns the exit status."""
    if arguments.json:
        setup.print_json(found.document)
    return found.exit_status


def finish_several(arguments: Any, found: Dict[str, Any]) -> int:
    """Print the table of Evaluations by name, or all as JSON; returns the exit status."""
    documents = {name: item.document for name, item in found.items()}
    width = max(map(len, documents))
    lines = [' ' * width + ''.join(f'{name:>8}' for name in _METRICS) + '  images  img/s']
    for name, document in documents.items():
        values = [document['metrics'][metric] for metric in _METRICS]
        shown = ''.join('     n/a' if value is None else f'{value:8.3f}' for value in values)
        speed = document['timings']['images_per_second']
        lines.append(f'{name:<{width}}{shown}{document["images"]:8}{speed:7.1f}')
    print('\n'.join(lines), file=setup.text_stream(arguments))
    if arguments.json:
        setup.print_json({'runs': documents})
    return max(item.exit_status for item in found.values())


def folder_names(paths: List[str]) -> List[str]:
    """Return a name for each checkpoint: the file's, with those of its folders where files share one.

    Raises:
        OptionError: a file is missing, or named twice.
    """
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:  # which would otherwise show only when the first are finished
        raise OptionError(f'no such checkpoint: {missing[0]}')
    stems = [os.path.splitext(os.path.abspath(path))[0] for path in paths]
    names = list(map(os.path.basename, stems))
    if len(set(names)) < len(names):
        common = os.path.commonpath([os.path.dirname(stem) for stem in stems])
        names = [os.path.relpath(stem, common).replace(os.sep, '-') for stem in stems]
    if len(set(names)) < len(names):
        raise OptionError('--weights: a checkpoint is named twice')
    return names


def _on_cluster(arguments: Any, plan: Any) -> Any:
    """Evaluate on a Dask cluster; returns the Score."""
    from ..runs.cluster import evaluate_on

    if plan.selection.shard != WHOLE:
        raise OptionError('--dask divides the run by itself: omit --shard')
    if arguments.save_images:
        raise OptionError('--save-images is not available with --dask; --report shows pictures')

    def announce(lines: List[str], shards: int, workers: int) -> None:
        cluster = f'cluster: {arguments.dask}, {setup.counted(workers, "worker")}, {shards} shards'
        print('\n'.join([*lines[:-1], cluster, '']), file=setup.text_stream(arguments))

    where = arguments.dask, arguments.certificates, arguments.shards
    about = arguments.output, announce, not arguments.no_progress, pages(arguments)
    return evaluate_on(*where, plan, *about)
