"""``centernet fetch``: the published checkpoints and COCO val2017."""

import json
import sys

from . import options

NAME = 'fetch'
HELP = 'download the published checkpoints and COCO val2017'
DESCRIPTION = """Download the published checkpoints (dla_34 and resdcn_18) and COCO val2017, 1.2 GB, check and unpack them.

  weights    ctdet_coco_dla_2x.pth and ctdet_coco_resdcn18.pth, into --models
  coco       annotations/instances_val2017.json and val2017/, into --data
  all        both (the default); single files go by the names that --verify-only prints

What is there and right is left alone. A download that was interrupted goes on where it was; a file has its name only when its
size and SHA-256 are those of the manifest. HTTP_PROXY, HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE are honoured. Files that you
have already are taken once they are in their place: checkpoints in --models, the two zips or what is in them in --data.

Exit status: 0 all is there; 1 something is not; 2 something given is wrong, or cannot be written; 130 or 143 ended by Ctrl-C
or SIGTERM: the same command goes on."""


def add_options(parser):
    """Add this command's flags to an argparse parser."""
    parser.add_argument(
        'what', nargs='*', metavar='WHAT', help='weights, coco, all, or names of files (default: all)'
    )
    add_place_flags(parser.add_argument_group('places'))
    parser.add_argument(
        '--verify-only',
        action='store_true',
        help='fetch nothing: read every file that is there, and say what is wrong',
    )
    parser.add_argument(
        '--replace',
        action='store_true',
        help='also replace files that are in the way, or that cannot be checked',
    )
    add_download_flags(parser.add_argument_group('download'))
    output = parser.add_argument_group('output')
    output.add_argument(
        '--json', action='store_true', help='print what became of each file as JSON, instead of text'
    )
    output.add_argument('--no-progress', action='store_true', help='no progress bars')


def add_place_flags(group):
    """--models --data"""
    group.add_argument(
        '--models',
        metavar='FOLDER',
        default=options.MODELS_FOLDER,
        help=f'where the checkpoints are (default: {options.MODELS_FOLDER})',
    )
    group.add_argument(
        '--data',
        metavar='FOLDER',
        default=options.DATA_FOLDER,
        help=f"where the data set is, in COCO's layout (default: {options.DATA_FOLDER})",
    )


def add_download_flags(group):
    """--mirror --manifest --timeout --attempts"""
    group.add_argument(
        '--mirror',
        action='append',
        default=[],
        metavar='ADDRESS',
        help=(
            'look for the files under this address first, '
            'for ADDRESS/val2017.zip and so on; may be given several times'
        ),
    )
    group.add_argument(
        '--manifest',
        metavar='FILE',
        help='another list of files, of the form of src/centernet/fetch/manifest.json',
    )
    group.add_argument(
        '--timeout',
        type=float,
        default=60,
        metavar='SECONDS',
        help='give a connection up when nothing comes for so long (default: 60)',
    )
    group.add_argument(
        '--attempts',
        type=int,
        default=5,
        metavar='N',
        help='attempts in a row that bring nothing until the next mirror is tried (default: 5)',
    )


def run(arguments):
    """Fetch; returns the exit status."""
    from ..fetch import choose, fetch, look
    from ..fetch.fetching import GOOD

    say = sys.stderr if arguments.json else sys.stdout
    items, policy = downloads(arguments)
    roots = {'weights': arguments.models, 'coco': arguments.data}

    def tell(outcome):
        lines = [f'{outcome.state:<8} {path}' for path in outcome.paths]
        if outcome.source:
            lines[-1] += f'  from {outcome.source}'
        print(
            '\n'.join(
                lines + ['         ' + outcome.why] * (outcome.why != '' and outcome.state != 'missing')
            ),
            file=say,
            flush=True,
        )

    items = choose(items, arguments.what)
    if arguments.verify_only:
        outcomes = [look(item, roots[item.group]) for item in items]
        for outcome in outcomes:
            tell(outcome)
    else:
        outcomes = fetch(items, roots, arguments.replace, policy, not arguments.no_progress, tell)
    if arguments.json:
        json.dump([outcome._asdict() for outcome in outcomes], sys.stdout, indent=2)
        print()
    good = ('right',) if arguments.verify_only else GOOD
    return 0 if all(outcome.state in good for outcome in outcomes) else 1


def downloads(arguments):
    """The manifest's items and the Policy that the flags (mirror, manifest, timeout, attempts) give.

    Raises:
        OptionError, FetchError: a flag means nothing, or the manifest is wrong.
    """
    from ..errors import OptionError
    from ..fetch import MANIFEST, Policy, read_manifest, with_mirrors

    if not 0 < arguments.timeout < 1e6:
        raise OptionError(f'--timeout must be more than 0 seconds, not {arguments.timeout:g}')
    if arguments.attempts < 1:
        raise OptionError(f'--attempts must be at least 1, not {arguments.attempts}')
    items = with_mirrors(read_manifest(arguments.manifest or MANIFEST), arguments.mirror)
    return items, Policy(timeout=arguments.timeout, attempts=arguments.attempts)
