"""``centernet export``: a checkpoint to ONNX files."""

import argparse
import logging
import os
from typing import Any

from ..errors import OptionError
from ..export.targets import TARGETS, file_name
from . import options, setup, verify
from .model_files import stem_of, suitable

_log = logging.getLogger(__name__)

NAME = 'export'
HELP = 'export a checkpoint to ONNX'
DESCRIPTION = """Export a checkpoint to ONNX, one file per target:

{}

The outputs are named after what they hold: hm (logits), wh and reg, and any other heads of the network.

exit status: 0 success; 1 with --verify, a file does not match; 2 invalid input or options""".format(
    '\n'.join(
        f'  {target.name:<9} {target.summary}; {file_name("<name>", target)}' for target in TARGETS.values()
    )
)

#: boxes that --with-decode gives by default, as many as the evaluation takes
DEFAULT_BOXES = 100


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    network = parser.add_argument_group('network')
    options.add_weights(network, "the built-in sample's")
    options.add_size(network, 'as stored in the checkpoint, else 512')
    options.add_normalization(network)
    options.add_device(network)
    options.add_threads(network)
    group = parser.add_argument_group('file')
    options.add_targets(group)
    batch = group.add_mutually_exclusive_group()
    batch.add_argument(
        '--batch', type=options.positive, default=1, metavar='N', help='batch size (default: 1)'
    )
    batch.add_argument(
        '--dynamic-batch', action='store_true', help='leave the batch size open (targets onnx and portable)'
    )
    group.add_argument(
        '--with-decode',
        nargs='?',
        type=options.positive,
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
    options.add_data(parser, 'data of --verify')
    options.add_loading(parser)
    verify.add_verification(parser)
    options.add_json(options.add_output(parser, NAME, 'files'))


def run(arguments: Any) -> int:
    """Export, and verify where that is wanted; returns the exit status."""
    threads = setup.start(arguments)
    from ..checkpoint import load_model
    from ..export.exporter import export
    from ..runners.input_limits import limits_of
    from ..runners.recorded import notes_on_records
    from ..sample import SAMPLE_WEIGHTS

    if arguments.raw and arguments.verify:
        raise OptionError('--raw and --verify exclude each other: a raw file has to be repaired first')
    weights = arguments.weights
    if not weights:
        _log.info("no --weights: exporting the built-in sample's checkpoint")
        weights = SAMPLE_WEIGHTS
    loaded = load_model(weights, arguments.arch, weights_key=arguments.weights_key)
    targets = options.chosen_targets(arguments.target)
    if options.ALL in arguments.target:
        targets = suitable(targets, loaded.heads)
    limits = limits_of(loaded)
    spec = setup.input_spec(arguments, limits, weights)
    files = export(
        loaded,
        arguments.output,
        arguments.name or stem_of(weights),
        targets,
        size=(spec.height, spec.width),
        batch=None if arguments.dynamic_batch else arguments.batch,
        boxes=arguments.with_decode,
        raw=arguments.raw,
        normalization=spec.normalization,
    )
    stream = setup.text_stream(arguments)
    print(
        f'{loaded.arch} ({setup.display_weights(weights)}),'
        f' input {", ".join(setup.describe_input(arguments, limits, spec))}',
        file=stream,
    )
    if not arguments.verify:  # which prints them, too
        for note in loaded.notes + notes_on_records(loaded.checkpoint.meta):
            print(note, file=stream)
    setup.print_files(files, stream)
    if not arguments.verify:
        if arguments.json:
            setup.print_json({'files': files})
        return 0
    del loaded
    models = [path for path in files if path.endswith('.onnx')]
    return verify.verify_files(
        arguments, models, weights, threads, os.path.join(arguments.output, 'verified')
    )
