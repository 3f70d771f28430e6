"""``centernet modify``: repair an ONNX file of another export."""

import argparse
import os
from typing import Any

from ..errors import OptionError
from ..export.targets import TARGETS
from ..files import display_path
from . import options, setup

NAME = 'modify'
HELP = 'repair an exported ONNX file'
DESCRIPTION = """Repair an ONNX file of a CenterNet for a target, and simplify it.

Takes what the original sample's export writes: operators that re-order the offsets, numbers for attributes
that ATC reads as lists, wh and reg swapped, a sigmoid behind hm, BatchNormalization. Takes files with ONNX's
own DeformConv, too. Prints what it changed, one line for each kind of change.

The first of these that applies decides which output is which: --outputs, the checkpoint (--weights), the
names of the weights, their numbers as torch 1.0 writes them. If none does, the file is rejected.

exit status: 0 success; 2 invalid input or options"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument('model', metavar='MODEL', help='the ONNX file')
    parser.add_argument('--output', metavar='FILE', help='file to write (default: <model>_modify.onnx)')
    parser.add_argument(
        '--target',
        choices=tuple(TARGETS),
        default='ascend',
        metavar='NAME',
        help='one of {} (default: ascend)'.format(', '.join(TARGETS)),
    )
    parser.add_argument(
        '--outputs',
        type=lambda text: text.split(','),
        metavar='LIST',
        help='what the outputs hold, in their order, such as hm,reg,wh (default: decided from the weights)',
    )
    options.add_normalization(parser, 'as stored in the file or the checkpoint, else coco')
    options.add_weights(parser, 'none; it decides which output is which', environment=False)


def run(arguments: Any) -> int:
    """Repair the file; returns the exit status."""
    from ..checkpoint import load_model
    from ..detection.normalization import parse_normalization
    from ..export.repair import repair

    for option, value in (('--arch', arguments.arch), ('--weights-key', arguments.weights_key)):
        if value and not arguments.weights:
            raise OptionError(f'{option} needs --weights')
    loaded = None
    if arguments.weights:
        loaded = load_model(arguments.weights, arguments.arch, weights_key=arguments.weights_key)
    output = arguments.output or os.path.splitext(arguments.model)[0] + '_modify.onnx'
    chosen = parse_normalization(arguments.normalization) if arguments.normalization else None
    found = repair(arguments.model, output, arguments.target, arguments.outputs, loaded, chosen)
    for note in loaded.notes if loaded else ():
        print(note)
    print('\n'.join([display_path(arguments.model) + ':'] + ['  ' + line for line in found.changes]))
    setup.print_files(found.files)
    return 0
