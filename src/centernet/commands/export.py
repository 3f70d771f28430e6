"""Export a checkpoint to ONNX.

Export a checkpoint to ONNX, one file per target:

{}

The outputs are named after what they hold: hm (logits), wh and reg, and any other heads of the network.

exit status: 0 success; 1 with --verify, a file does not match; 2 invalid input or options
"""

import argparse
import logging
import os
from typing import Any

from ..exporting.targets import TARGETS, file_name
from ..options.fields import read_flags
from ..options.protocol import Protocol
from ..system.errors import OptionError
from . import arguments as groups
from . import setup, verification
from .model_files import stem_of, suitable

_log = logging.getLogger(__name__)


HELP_TEXT = __doc__.format(
    '\n'.join(
        f'  {target.name:<9} {target.summary}; {file_name("<name>", target)}' for target in TARGETS.values()
    )
)
#: boxes that --with-decode gives by default, as many as the evaluation takes
DEFAULT_BOXES = 100


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    groups.add_network(parser, *groups.CHECKPOINT)
    group = parser.add_argument_group('file')
    groups.add_targets(group)
    batch = group.add_mutually_exclusive_group()
    batch.add_argument(
        '--batch', type=groups.positive, default=1, metavar='N', help='batch size (default: 1)'
    )
    batch.add_argument('--dynamic-batch', action='store_true', help='an open batch size (onnx and portable)')
    group.add_argument(
        '--with-decode',
        nargs='?',
        type=groups.positive,
        const=DEFAULT_BOXES,
        metavar='BOXES',
        help='append the decoder, which gives boxes, scores and classes (targets onnx and portable);'
        f' BOXES per image (default: {DEFAULT_BOXES})',
    )
    group.add_argument(
        '--raw',
        action='store_true',
        help='write <name>.onnx as torch traces it, as the original sample does, instead of the targets;'
        ' centernet modify repairs it',
    )
    group.add_argument('--name', metavar='NAME', help="file name without .onnx (default: the checkpoint's)")
    group.add_argument('--verify', action='store_true', help='then verify each file (see centernet verify)')
    groups.add_data(parser, title='data of --verify')
    groups.add_loading(parser)
    verification.add_options(parser)
    groups.add_json(groups.add_output(parser, 'export', 'files'))


def run(arguments: Any) -> int:
    """Export, and verify where that is wanted; returns the exit status."""
    setup.start(arguments)
    from ..exporting.exporter import export
    from ..networks.checkpoint import load_model
    from ..networks.facts import facts_of_checkpoint
    from ..runs.plan import display_weights
    from ..sample import SAMPLE_WEIGHTS

    if arguments.raw and arguments.verify:
        raise OptionError('--raw and --verify exclude each other: a raw file has to be repaired first')
    weights = arguments.weights
    if not weights:
        _log.info("no --weights: exporting the built-in sample's checkpoint")
        weights = SAMPLE_WEIGHTS
    loaded = load_model(weights, arguments.arch, weights_key=arguments.weights_key)
    targets = groups.chosen_targets(arguments.target)
    if groups.ALL in arguments.target:
        targets = suitable(targets, loaded.heads)
    facts, wanted = facts_of_checkpoint(loaded), read_flags(Protocol, arguments)
    protocol = wanted.for_network(facts, weights)
    files = export(
        loaded,
        arguments.output,
        arguments.name or stem_of(weights),
        targets,
        size=(protocol.input_height, protocol.input_width),
        batch=None if arguments.dynamic_batch else arguments.batch,
        boxes=arguments.with_decode,
        raw=arguments.raw,
        normalization=protocol.normalization,
    )
    stream = setup.text_stream(arguments)
    print(
        f'{loaded.arch} ({display_weights(weights)}), input {protocol.describe(facts, wanted)}', file=stream
    )
    if not arguments.verify:  # which prints them, too
        for note in loaded.notes + list(facts.notes):
            print(note, file=stream)
    setup.print_files(files, stream)
    if arguments.verify:
        del loaded
        models = [path for path in files if path.endswith('.onnx')]
        return verification.run(arguments, models, weights, os.path.join(arguments.output, 'verified'))
    if arguments.json:
        setup.print_json({'files': files})
    return 0
