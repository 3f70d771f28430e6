"""``centernet modify``: repair an ONNX file of another export."""

import argparse

from ..export.targets import TARGETS
from . import options

NAME = 'modify'
HELP = 'repair an exported ONNX file: swapped outputs, attributes, names; and simplify it'
DESCRIPTION = """Repair an ONNX file of a CenterNet for a target, and simplify it.

Reads what the original sample's export writes: operators that re-order the offsets, numbers for attributes
that ATC reads as lists, wh and reg swapped, BatchNormalization. The first of these that applies decides which
output is which: --outputs, the checkpoint (--weights), the names of the weights, their numbers as torch 1.0
writes them. If none does, the file is rejected.

Exit status: 0 success; 2 invalid input or options."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add this command's flags to an argparse parser."""
    parser.add_argument('model', metavar='MODEL', help='the ONNX file')
    parser.add_argument('--output', metavar='FILE', help='file to write (default: <model>_modify.onnx)')
    parser.add_argument(
        '--target',
        default='ascend',
        metavar='NAME',
        help='{} (default: ascend)'.format(', '.join(TARGETS)),
    )
    parser.add_argument(
        '--outputs',
        type=lambda text: text.split(','),
        metavar='LIST',
        help='what the outputs hold, in order, such as hm,reg,wh',
    )
    options.add_weights_flags(parser, 'the one that the file was made from, which tells its outputs')


def run(arguments: argparse.Namespace) -> int:
    """Repair the file; return the exit status."""
    import os

    from ..checkpoint import load_model
    from ..errors import OptionError
    from ..export.repair import repair

    if arguments.arch and not arguments.weights:
        raise OptionError('--arch needs --weights')
    loaded = load_model(arguments.weights, arguments.arch) if arguments.weights else None
    output = arguments.output or os.path.splitext(arguments.model)[0] + '_modify.onnx'
    found = repair(arguments.model, output, arguments.target, arguments.outputs, loaded)
    print('\n'.join([arguments.model + ':'] + ['  ' + line for line in found.changes]))
    print('\n'.join(['written:'] + ['  ' + path for path in found.files]))
    return 0
