"""Reproduce the published results.

Reproduce the published AP of dla_34 and resdcn_18 on COCO val2017 (fix_res, keep_res, and
keep_res with the flip test), and verify the exports of both networks. Missing checkpoints and data are
downloaded first, see centernet fetch. Writes report.md and report.json: for each claim the published value,
the measured one, the difference, the tolerance and the verdict; and the environment.

With --sample, the built-in sample is measured against its own recorded AP; this needs no download. With
--limit, the exports are verified on fewer images, and AP is not compared. The same command resumes an
interrupted run.

exit status: 0 no claim fails; 1 a claim fails; 2 invalid input or options, or a failed download; 130 or 143
interrupted by Ctrl-C or SIGTERM.
"""

import os
from argparse import ArgumentParser, Namespace

from ..options.fields import add_flags, read_flags
from ..options.selection import Loading, NetworkOptions, Selection
from ..system.device import resolve_device
from ..system.errors import DataError, FetchError, OptionError
from . import arguments as groups
from . import downloads, setup


def add_options(parser: ArgumentParser) -> None:
    """Add this command's options."""
    group = parser.add_argument_group('claims')
    group.add_argument('--sample', action='store_true', help='use the built-in sample and its recorded AP')
    group.add_argument('--arch', metavar='NAME', help='only this network, such as resdcn_18 (default: all)')
    group.add_argument('--weights', metavar='FILE', help='another checkpoint than the published; with --arch')
    groups.add_targets(group, ('none',))
    add_flags(group, Selection, 'limit')
    downloads.add_options(parser)
    add_flags(parser.add_argument_group('device'), NetworkOptions, 'device', 'threads')
    groups.add_loading(parser)
    groups.add_json(groups.add_output(parser, 'reproduce'))


def run(arguments: Namespace) -> int:
    """Reproduce; returns the exit status."""
    setup.start(arguments)
    from .. import reproduce

    claims = reproduce.choose(reproduce.SAMPLE if arguments.sample else reproduce.PUBLISHED, arguments.arch)
    if arguments.weights and len(claims.networks) > 1:
        names = ' and '.join(network.arch for network in claims.networks)
        raise OptionError(f'--weights is one checkpoint, the claims are about {names}: choose with --arch')
    say = setup.text_stream(arguments)
    weights, data = _inputs(arguments, claims, say)
    settings = reproduce.Settings(
        data,
        arguments.output,
        resolve_device(arguments.device),
        arguments.threads,
        read_flags(Selection, arguments),
        read_flags(Loading, arguments),
        groups.chosen_targets(arguments.target),
        not arguments.no_progress,
    )
    found = reproduce.reproduce(claims, weights, settings, lambda text: print(text, file=say, flush=True))
    files = reproduce.write_report(arguments.output, found)
    if arguments.json:
        setup.print_json(reproduce.document(found))
    else:
        print(f'\n{reproduce.format_reproduction(found)}\n')
        setup.print_files(files)
    return 0 if found.passed else 1


def _inputs(arguments, claims, say):
    """Return (architecture -> path of the checkpoint, CocoData). What is missing is downloaded.

    Raises:
        FetchError: it is unavailable.
    """
    from ..coco import CocoData
    from ..sample import SAMPLE_WEIGHTS, sample_folder

    folder = os.path.dirname(SAMPLE_WEIGHTS) if arguments.sample else arguments.models
    weights = {
        network.arch: arguments.weights or os.path.join(folder, network.weights)
        for network in claims.networks
    }
    if arguments.sample:
        return weights, CocoData.load(sample_folder(arguments.output))
    if not arguments.weights:
        missing = [network for network in claims.networks if not os.path.exists(weights[network.arch])]
        _fetch(arguments, [network.weights for network in missing], say)
    try:
        data = CocoData.load(arguments.data_folder)
    except DataError as error:
        print(f'{error}; fetching the data', file=say)
        _fetch(arguments, ['coco'], say)
        data = CocoData.load(arguments.data_folder)
    return weights, data


def _fetch(arguments, words, say):
    for status in downloads.fetch_files(arguments, words, say) if words else ():
        if not status.usable:
            raise FetchError(f'{status.path}: {status.detail}')
