"""Repair an exported ONNX file.

Repair an ONNX file of a CenterNet for a target, and simplify it.

Takes what the original sample's export writes: operators that re-order the offsets, numbers for attributes
that ATC reads as lists, wh and reg swapped, a sigmoid behind hm, BatchNormalization. Takes files with ONNX's
own DeformConv, too. Prints what it changed, one line for each kind of change.

The first of these that applies decides which output is which: --outputs, the checkpoint (--weights), the
names of the weights, their numbers as torch 1.0 writes them. If none does, the file is rejected.

exit status: 0 success; 2 invalid input or options
"""

import argparse
import os
from typing import Any

from ..exporting.targets import TARGETS
from ..options.fields import add_flags, read_flags
from ..options.protocol import Protocol
from ..options.selection import NetworkOptions
from ..system.errors import OptionError
from ..system.files import display_path
from . import arguments as groups
from . import setup


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
    add_flags(parser, Protocol, 'normalization')
    weights = {'default': None, 'help': 'checkpoint, which decides which output is which (default: none)'}
    add_flags(parser, NetworkOptions, *groups.CHECKPOINT, weights=weights)


def run(arguments: Any) -> int:
    """Repair the file; returns the exit status."""
    from ..exporting.repair import repair
    from ..networks.checkpoint import load_model

    network = read_flags(NetworkOptions, arguments)
    if not network.weights and (network.arch or network.weights_key):
        raise OptionError('--arch and --weights-key need --weights')
    loaded = None
    if network.weights:
        loaded = load_model(network.weights, network.arch, weights_key=network.weights_key)
    output = arguments.output or os.path.splitext(arguments.model)[0] + '_modify.onnx'
    found = repair(
        arguments.model, output, arguments.target, arguments.outputs, loaded, arguments.normalization
    )
    for note in loaded.notes if loaded else ():
        print(note)
    print('\n'.join([display_path(arguments.model) + ':'] + ['  ' + line for line in found.changes]))
    setup.print_files(found.files)
    return 0
