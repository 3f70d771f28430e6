"""``centernet fetch``: the published checkpoints and COCO val2017."""

import os
import shlex
from argparse import ArgumentParser, Namespace
from typing import IO, Any, Dict, List, Sequence

from . import options, setup

NAME = 'fetch'
HELP = 'download the published checkpoints and COCO val2017'
DESCRIPTION = """Download, verify and unpack the published checkpoints (dla_34, resdcn_18) and COCO val2017
(1.2 GB).

  weights    ctdet_coco_dla_2x.pth and ctdet_coco_resdcn18.pth, into --models
  coco       annotations/instances_val2017.json and val2017/, into --data
  all        both (the default)

Single files can be named as well, e.g. val2017.zip. Valid files are kept, and an interrupted download is
resumed. A file gets its name only when its size and SHA-256 are right. Files that you already have are used:
put checkpoints into --models, and the two zip archives or their contents into --data. HTTP_PROXY,
HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE are honoured.

exit status: 0 success; 1 some files are missing or invalid; 2 invalid options, or a file cannot be written;
130 or 143 interrupted by Ctrl-C or SIGTERM: the same command resumes."""


def add_options(parser: ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument(
        'what', nargs='*', metavar='WHAT', help='weights, coco, all, or names of files (default: all)'
    )
    add_places(parser)
    add_download(parser)
    parser.add_argument(
        '--verify-only', action='store_true', help='verify the files that exist, without downloading any'
    )
    options.add_json(parser.add_argument_group('output'))


def add_places(parser: ArgumentParser) -> None:
    """Add --models and --data."""
    group = parser.add_argument_group('places')
    group.add_argument(
        '--models',
        metavar='FOLDER',
        default=options.MODELS_FOLDER,
        help=f'folder of the checkpoints (default: {options.MODELS_FOLDER})',
    )
    group.add_argument(
        '--data',
        metavar='FOLDER',
        default=os.environ.get('DATA') or options.DATA_FOLDER,
        help=f"folder of the data set, in COCO's layout (default: DATA, else {options.DATA_FOLDER})",
    )


def add_download(parser: ArgumentParser) -> None:
    """Add --mirror, --timeout and --attempts."""
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
        type=float,
        metavar='SECONDS',
        help='how long to wait for a connection, and for data (default: 60)',
    )
    group.add_argument(
        '--attempts',
        type=options.positive,
        metavar='N',
        help='failed attempts in a row before the next mirror is tried (default: 5)',
    )


def run(arguments: Namespace) -> int:
    """Fetch; returns the exit status."""
    from ..fetch import FILES, check, choose
    from ..files import display_path

    say = setup.text_stream(arguments)
    if arguments.verify_only:
        statuses = [check(file, folders(arguments)[file.group]) for file in choose(FILES, arguments.what)]
        for status in statuses:
            print(format_status(status), file=say)
    else:
        statuses = fetch_files(arguments, arguments.what, say)
        if all(statuses) and len(statuses) == len(FILES):
            weights, data = (shlex.quote(display_path(path)) for path in (statuses[0].path, arguments.data))
            print(f'\nnext: centernet eval-pth --weights {weights} --data {data}', file=say)
    if arguments.json:
        setup.print_json([status._asdict() for status in statuses])
    return 0 if all(statuses) else 1


def fetch_files(arguments: Namespace, words: Sequence[str], say: IO[str]) -> List:
    """Fetch the files that ``words`` choose, print what became of each to ``say``, and return their Status.

    Args:
        arguments: parsed options (models, data, mirror, timeout, attempts, no_progress).

    Raises:
        OptionError: invalid options or words.
        OutputError: a file cannot be written.
    """
    from ..errors import OptionError
    from ..fetch import ATTEMPTS, FILES, TIMEOUT, choose, fetch, with_mirrors

    timeout = TIMEOUT if arguments.timeout is None else arguments.timeout
    if not 0 < timeout < 1e6:
        raise OptionError(f'--timeout must be positive, not {timeout:g}')
    return fetch(
        with_mirrors(choose(FILES, words), arguments.mirror),
        folders(arguments),
        timeout,
        arguments.attempts or ATTEMPTS,
        not arguments.no_progress,
        lambda status: print(format_status(status), file=say, flush=True),
    )


def folders(arguments: Namespace) -> Dict[str, str]:
    """Return the folder of each group of files."""
    return {'weights': arguments.models, 'coco': arguments.data}


def format_status(status: Any) -> str:
    """Return a Status as one line of text."""
    from ..files import display_path

    line = f'{status.state:<8} {display_path(status.path)}'
    if not status.detail:
        return line
    return line + (f' from {status.detail}' if status.state == 'fetched' else f': {status.detail}')
