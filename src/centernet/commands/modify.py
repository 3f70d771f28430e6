"""``centernet modify``: an ONNX file of another export, set right."""

from . import options

NAME = 'modify'
HELP = 'set an exported ONNX file right: swapped outputs, attributes, names; and simplify it'
DESCRIPTION = """Set an ONNX file of a CenterNet right for a target, and simplify it.

Takes what the original sample's export writes: operators that re-order the offsets, numbers for attributes that ATC takes
lists of, wh and reg exchanged, BatchNormalization. Which output is which is decided, in this order, by --outputs, by the
checkpoint (--weights), by the weights' names, and by their numbers as torch 1.0 gives them; where none of these tells, the file
is refused.

Exit status: 0 done; 2 something given is wrong."""


def add_options(parser):
    """Add this command's flags to an argparse parser."""
    parser.add_argument('model', metavar='MODEL', help='the ONNX file')
    parser.add_argument('--output', metavar='FILE', help='file to write (default: <model>_modify.onnx)')
    parser.add_argument(
        '--target',
        default='ascend',
        metavar='NAME',
        help='ascend, tensorrt, onnx or portable (default: ascend)',
    )
    parser.add_argument(
        '--outputs',
        type=lambda text: text.split(','),
        metavar='LIST',
        help='what the outputs hold, in their order, e.g. hm,reg,wh',
    )
    options.add_weights(parser, 'the one that the file was made of, to tell the outputs by')


def run(arguments):
    """Modify; returns the exit status."""
    import os

    from ..checkpoint import load_model
    from ..errors import OptionError
    from ..export.repair import modify
    from ..export.targets import TARGETS

    if arguments.target not in TARGETS:
        raise OptionError("unknown target '{}'; known: {}".format(arguments.target, ', '.join(TARGETS)))
    if arguments.arch and not arguments.weights:
        raise OptionError('--arch says what --weights are, and there are none')
    loaded = load_model(arguments.weights, arguments.arch) if arguments.weights else None
    output = arguments.output or os.path.splitext(arguments.model)[0] + '_modify.onnx'
    found = modify(arguments.model, output, arguments.target, arguments.outputs, loaded)
    print('\n'.join([arguments.model + ':'] + ['  ' + line for line in found.changes]))
    print('\n'.join(['written:'] + ['  ' + path for path in found.files]))
    return 0
