"""``centernet reproduce``: the published results, measured in this environment."""

import os
from argparse import ArgumentParser, Namespace

from ..device import apply_threads, prepare_threads, resolve_device
from . import fetch, options, setup

NAME = 'reproduce'
HELP = 'reproduce the published results'
DESCRIPTION = """Reproduce the published AP of dla_34 and resdcn_18 on COCO val2017 (fix_res, keep_res, and
keep_res with the flip test), and verify the exports of both networks. Missing checkpoints and data are
downloaded first, see centernet fetch. Writes report.md and report.json: for each claim the published value,
the measured one, the difference, the tolerance and the verdict; and the environment.

With --sample, the built-in sample is measured against its own recorded AP; this needs no download. With
--limit, the exports are verified on fewer images, and AP is not compared. The same command resumes an
interrupted run.

exit status: 0 no claim fails; 1 a claim fails; 2 invalid input or options, or a failed download; 130 or 143
interrupted by Ctrl-C or SIGTERM."""


def add_options(parser: ArgumentParser) -> None:
    """Add this command's options."""
    group = parser.add_argument_group('claims')
    group.add_argument('--sample', action='store_true', help='use the built-in sample and its recorded AP')
    group.add_argument('--arch', metavar='NAME', help='only this network, such as resdcn_18 (default: all)')
    group.add_argument(
        '--weights',
        metavar='FILE',
        help='another checkpoint instead of the published one; if there are several networks, with --arch',
    )
    options.add_targets(group, ('none',))
    options.add_limit(group)
    fetch.add_places(parser)
    fetch.add_download(parser)
    group = parser.add_argument_group('device')
    options.add_device(group)
    options.add_threads(group)
    options.add_loading(parser)
    options.add_json(options.add_output(parser, NAME))


def run(arguments: Namespace) -> int:
    """Reproduce; returns the exit status."""
    threads = prepare_threads(arguments.threads)
    from .. import reproduce
    from ..errors import OptionError
    from ..files import ensure_folder

    apply_threads(threads)
    claims = reproduce.choose(reproduce.SAMPLE if arguments.sample else reproduce.PUBLISHED, arguments.arch)
    if arguments.weights and len(claims.networks) > 1:
        names = ' and '.join(network.arch for network in claims.networks)
        raise OptionError(
            f'--weights is one checkpoint, but there are claims about {names}: choose with --arch'
        )
    settings = reproduce.Settings(
        device=resolve_device(arguments.device),
        threads=threads,
        limit=arguments.limit,
        targets=options.chosen_targets(arguments.target),
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        progress=not arguments.no_progress,
    )
    settings = settings._replace(onnx_device='cpu' if settings.device.type == 'cpu' else 'auto')
    ensure_folder(arguments.output)
    say = setup.text_stream(arguments)
    weights, data = _inputs(arguments, claims, say)
    found = reproduce.reproduce(
        claims, data, weights, arguments.output, settings, lambda text: print(text, file=say, flush=True)
    )
    files = reproduce.write_report(arguments.output, found)
    if arguments.json:
        setup.print_json(reproduce.document(found))
    else:
        print(f'\n{reproduce.format_reproduction(found)}\n')
        setup.print_files(files)
    return 0 if found else 1


def _inputs(arguments, claims, say):
    """Return (architecture -> path of the checkpoint, CocoData). What is missing is downloaded.

    Raises:
        FetchError: it is unavailable.
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
        missing = [network for network in claims.networks if not os.path.exists(weights[network.arch])]
        _fetch(arguments, [network.weights for network in missing], say)
    try:
        data = CocoData.load(arguments.data)
    except DataError as error:
        print(f'{error}; fetching the data', file=say)
        _fetch(arguments, ['coco'], say)
        data = CocoData.load(arguments.data)
    return weights, data


def _fetch(arguments, words, say):
    from ..errors import FetchError

    for status in fetch.fetch_files(arguments, words, say) if words else ():
        if not status:
            raise FetchError(f'{status.path}: {status.detail}')
