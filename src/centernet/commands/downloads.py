"""What fetch and reproduce share: where the published files go, and how they are downloaded."""

import os
from argparse import ArgumentParser, Namespace
from typing import IO, Any, Dict, List, Sequence

from . import arguments as groups


def add_options(parser: ArgumentParser) -> None:
    """Add --models and --data, the latter as ``data_folder``, since it need not exist yet; and --mirror,
    --timeout and --attempts."""
    group = parser.add_argument_group('places')
    group.add_argument(
        '--models',
        metavar='FOLDER',
        default=groups.MODELS_FOLDER,
        help=f'folder of the checkpoints (default: {groups.MODELS_FOLDER})',
    )
    group.add_argument(
        '--data',
        metavar='FOLDER',
        dest='data_folder',
        default=os.environ.get('DATA') or groups.DATA_FOLDER,
        help=f"folder of the data set, in COCO's layout (default: DATA, else {groups.DATA_FOLDER})",
    )
    group = parser.add_argument_group('download')
    group.add_argument(
        '--mirror',
        action='append',
        default=[],
        metavar='URL',
        help='try URL/val2017.zip and so on first; may be repeated',
    )
    group.add_argument(
        '--timeout',
        type=groups.rate,
        default=60.0,
        metavar='SECONDS',
        help='how long to wait for a connection, and for data (default: 60)',
    )
    group.add_argument(
        '--attempts',
        type=groups.positive,
        default=5,
        metavar='N',
        help='failed attempts in a row before the next mirror is tried (default: 5)',
    )


def fetch_files(arguments: Namespace, words: Sequence[str], say: IO[str]) -> List[Any]:
    """Fetch the files that ``words`` choose, print what became of each to ``say``, and return their Status.

    Raises:
        OptionError: invalid options or words.
        OutputError: a file cannot be written.
    """
    from ..fetch import choose, fetch

    files, places = choose(words, arguments.mirror), folders(arguments)
    options = arguments.timeout, arguments.attempts, not arguments.no_progress
    statuses = []
    for status in fetch(files, places, *options):
        print(status, file=say, flush=True)
        statuses.append(status)
    return statuses


def folders(arguments: Namespace) -> Dict[str, str]:
    """Return the folder of each group of files."""
    return {'weights': arguments.models, 'coco': arguments.data_folder}
