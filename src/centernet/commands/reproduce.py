"""``centernet reproduce``: are the published figures what this environment measures?"""

import json
import os
import sys

from ..device import apply_threads, prepare_threads, resolve_device
from . import fetch, options
from .eval_shared import default_loading

NAME = 'reproduce'
HELP = 'measure the published figures again, and verify every export'
DESCRIPTION = """Measure the published AP of dla_34 and resdcn_18 on COCO val2017 again: fix_res, keep_res, and keep_res with the flip test.
Export both networks for every target, and verify each file with its AP on the same images. Checkpoints and data that are not
there are fetched first (see centernet fetch). Writes report.md and report.json into the output folder: a row per claim, with
what was published, what was measured, the difference, the tolerance and the verdict; and the environment.

With --sample the built-in sample is measured in the same way, against its own recorded figures. With --limit the exports are
still verified, but an AP of fewer images cannot be compared with one of all, and the report says so.

The same command goes on with a run that was interrupted.

Exit status: 0 no claim fails; 1 a claim fails (another checkpoint, other data, a figure or an export beyond its tolerance);
2 something given is wrong, or cannot be fetched; 130 or 143 ended by Ctrl-C or SIGTERM."""

DEFAULT_OUTPUT = './reproduce_result'


def add_flags(parser):
    """Add this command's flags to an argparse parser."""
    group = parser.add_argument_group('claims')
    group.add_argument('--sample', action='store_true', help='the built-in sample and its recorded figures')
    group.add_argument(
        '--claims',
        metavar='FILE',
        help='another table of figures, of the form of src/centernet/reproduce/coco.json',
    )
    group.add_argument('--arch', metavar='NAME', help='only the claims about this network, e.g. resdcn_18')
    group.add_argument(
        '--weights',
        metavar='FILE',
        help=(
            'this checkpoint in place of the one that the claims name; with --arch where they '
            'are about several networks'
        ),
    )
    group.add_argument(
        '--target',
        nargs='+',
        default=['all'],
        metavar='NAME',
        help='exports to verify: ascend, tensorrt, onnx, portable, all or none (default: all)',
    )
    places = parser.add_argument_group('places')
    fetch.add_place_flags(places)
    places.add_argument(
        '--output',
        metavar='FOLDER',
        default=DEFAULT_OUTPUT,
        help=f'folder for what is written (default: {DEFAULT_OUTPUT})',
    )
    speed = parser.add_argument_group('run')
    speed.add_argument('--limit', type=int, metavar='N', help='only the first N images')
    options.add_device_flags(speed)
    options.add_loading_flags(parser)
    fetch.add_download_flags(parser.add_argument_group('download'))
    output = parser.add_argument_group('output')
    output.add_argument('--json', action='store_true', help='print what report.json holds, instead of text')
    output.add_argument('--no-progress', action='store_true', help='no progress bars')


def run(arguments):
    """Reproduce; returns the exit status."""
    threads = prepare_threads(arguments.threads)
    from ..errors import OptionError
    from ..evaluation import Interrupted
    from ..export.targets import TARGETS
    from ..files import ensure_folder
    from ..reproduce import (
        PUBLISHED_CLAIMS,
        SAMPLE_CLAIMS,
        Settings,
        choose,
        document,
        format_reproduction,
        read_claims,
        reproduce,
        write_report,
    )

    apply_threads(threads)
    device = resolve_device(arguments.device)
    claims = choose(
        read_claims(arguments.claims or (SAMPLE_CLAIMS if arguments.sample else PUBLISHED_CLAIMS)),
        arguments.arch,
    )
    if arguments.weights and len(claims.networks) > 1:
        raise OptionError(
            '--weights is one checkpoint, and the claims are about {}: choose with --arch'.format(
                ' and '.join(network.arch for network in claims.networks)
            )
        )
    targets = (
        list(TARGETS)
        if 'all' in arguments.target
        else []
        if arguments.target == ['none']
        else arguments.target
    )
    ensure_folder(arguments.output)
    say = sys.stderr if arguments.json else sys.stdout
    weights, data = _inputs(arguments, claims, say)
    settings = Settings(
        device,
        default_loading,
        'cpu' if device.type == 'cpu' else 'auto',
        threads,
        arguments.limit,
        tuple(targets),
        arguments.batch_size,
        arguments.workers,
        not arguments.no_progress,
    )
    try:
        found = reproduce(
            claims, data, weights, arguments.output, settings, lambda text: print(text, file=say, flush=True)
        )
    except Interrupted as error:
        print(
            f'centernet: what is finished is kept in {arguments.output}; the same command goes on',
            file=sys.stderr,
        )
        raise error.__cause__ from None
    files = write_report(arguments.output, found)
    if arguments.json:
        json.dump(document(found), sys.stdout, indent=2)
        print()
    else:
        print(
            '\n{}\n\nwritten:\n{}'.format(
                format_reproduction(found), '\n'.join('  ' + path for path in files)
            )
        )
    return 0 if found else 1


def _inputs(arguments, claims, say):
    """(architecture -> checkpoint, CocoData); what is missing is fetched.

    Raises:
        FetchError: it cannot be.
    """
    from ..coco import CocoData
    from ..errors import DataError
    from ..sample import SAMPLE_WEIGHTS, sample_folder

    if arguments.sample:
        weights = {network.arch: arguments.weights or SAMPLE_WEIGHTS for network in claims.networks}
        return weights, CocoData.load(sample_folder(arguments.output))
    weights = {
        network.arch: arguments.weights or os.path.join(arguments.models, network.weights)
        for network in claims.networks
    }
    if not arguments.weights:
        _fetch(
            arguments,
            [network.weights for network in claims.networks if not os.path.exists(weights[network.arch])],
            say,
        )
    try:
        data = CocoData.load(arguments.data)
    except DataError as error:
        print(f'{error}: fetching the data', file=say)
        _fetch(arguments, ['coco'], say)
        data = CocoData.load(arguments.data)
    return weights, data


def _fetch(arguments, words, say):
    if not words:
        return
    from ..errors import FetchError
    from ..fetch import choose
    from ..fetch import fetch as fetch_items
    from ..fetch.fetching import GOOD

    items, policy = fetch.downloads(arguments)
    roots = {'weights': arguments.models, 'coco': arguments.data}
    outcomes = fetch_items(
        choose(items, words),
        roots,
        False,
        policy,
        not arguments.no_progress,
        lambda outcome: print(
            '{:<8} {}'.format(outcome.state, ', '.join(outcome.paths)), file=say, flush=True
        ),
    )
    for outcome in outcomes:
        if outcome.state not in GOOD:
            raise FetchError(outcome.why)
