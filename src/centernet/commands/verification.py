"""What verify and export --verify share."""

import argparse
from typing import Any, Sequence

from ..exporting.targets import TARGETS
from . import arguments as groups
from . import setup


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --compare-images, --no-metrics, --rules and --report."""
    group = parser.add_argument_group('verification')
    group.add_argument(
        '--compare-images',
        type=groups.positive,
        default=8,
        metavar='N',
        help='images for the stages heads and detections (default: 8)',
    )
    group.add_argument('--no-metrics', action='store_true', help='skip the stage metrics')
    group.add_argument(
        '--rules', choices=tuple(TARGETS), help='whose rules to check (default: as stored in the file)'
    )
    groups.add_report(group, ' about what differs, for each file')


def run(arguments: Any, files: Sequence[str], weights: str, output: str) -> int:
    """Verify files against a checkpoint and print the results; returns the exit status."""
    from ..runs.plan import display_weights
    from ..verification.files import verify_files

    stream = setup.text_stream(arguments)
    found = verify_files(
        files,
        setup.read_plan(arguments, weights),
        output,
        lambda text: print(text, file=stream),
        arguments.report,
        not arguments.no_progress,
        compare_images=arguments.compare_images,
        metrics=not arguments.no_metrics,
        target=arguments.rules,
    )
    setup.print_files(found.written, stream)
    if len(files) > 1:
        print(f'{found.same} of {len(files)} files match {display_weights(weights)}', file=stream)
    if arguments.json:
        setup.print_json(found.documents)
    return 0 if found.same == len(files) else 1
