"""``centernet export``: a checkpoint to ONNX files."""

import argparse

from ..device import apply_threads, prepare_threads
from . import options

NAME = 'export'
HELP = 'export a checkpoint to ONNX, for ATC, TensorRT or onnxruntime'
DESCRIPTION = """Export a checkpoint to ONNX files, one per target.

  ascend     for ATC: DeformableConv2D, opset 11, <name>.onnx, and beside it the command line of ATC as <name>_atc.sh
  tensorrt   for TensorRT-CenterNet: DCNv2, opset 9, batch 1, outputs hm, reg, wh; <name>_tensorrt.onnx
  onnx       for onnxruntime >= 1.26 and TensorRT >= 10.1: DeformConv, opset 19; <name>_onnx.onnx
  portable   for onnxruntime >= 1.7: standard operators alone, opset 11; <name>_portable.onnx

The outputs hm (logits), wh and reg have the names of what they hold. Without --weights the built-in sample's checkpoint is
exported.

Exit status: 0 done; 2 something given is wrong."""

#: boxes that --with-decode gives where no number is said, as many as the evaluation takes
DEFAULT_BOXES = 100


def add_flags(parser):
    """Add this command's flags to an argparse parser."""
    network = parser.add_argument_group('network')
    options.add_weights_flags(network, "without it, the built-in sample's")
    options.add_size_flags(network, 'what the checkpoint says, else 512')
    options.add_threads_flag(network)
    group = parser.add_argument_group('file')
    group.add_argument(
        '--target',
        nargs='+',
        default=['ascend'],
        metavar='NAME',
        help='one or more of ascend, tensorrt, onnx, portable, or all (default: ascend)',
    )
    group.add_argument('--batch', type=_positive, metavar='N', help='images at once (default: 1)')
    group.add_argument(
        '--dynamic-batch', action='store_true', help='leave the number of images open (onnx and portable)'
    )
    group.add_argument(
        '--with-decode',
        nargs='?',
        type=_positive,
        const=DEFAULT_BOXES,
        metavar='BOXES',
        help=(
            'let the file give boxes, scores and classes in place of the heads (onnx and portable); so many'
            f' boxes (default: {DEFAULT_BOXES})'
        ),
    )
    group.add_argument(
        '--raw',
        action='store_true',
        help=(
            'write <name>.onnx as torch traces it, as the original sample does, in place '
            'of the targets; centernet modify makes it right'
        ),
    )
    group.add_argument(
        '--name', metavar='NAME', help="of the files, without .onnx (default: the checkpoint's)"
    )
    group.add_argument(
        '--output',
        metavar='FOLDER',
        help="folder for the files (default: the checkpoint's, or ./models for the built-in sample)",
    )


def run(arguments):
    """Export; returns the exit status."""
    threads = prepare_threads(arguments.threads)
    import os

    from ..checkpoint import load_model
    from ..errors import OptionError
    from ..export.exporter import export
    from ..export.targets import TARGETS
    from ..sample import SAMPLE_WEIGHTS
    from .setup import input_spec

    apply_threads(threads)
    if arguments.batch is not None and arguments.dynamic_batch:
        raise OptionError('--batch and --dynamic-batch contradict each other')
    weights = arguments.weights
    if not weights:
        print("no --weights: the built-in sample's checkpoint is exported")
        weights = SAMPLE_WEIGHTS
    folder = arguments.output or (os.path.dirname(weights) or '.' if arguments.weights else 'models')
    loaded = load_model(weights, arguments.arch)
    spec = input_spec(arguments, loaded)
    names = list(TARGETS) if 'all' in arguments.target else arguments.target
    files = export(
        loaded,
        folder,
        arguments.name or os.path.splitext(os.path.basename(weights))[0],
        names,
        size=(spec.height, spec.width),
        batch=None if arguments.dynamic_batch else arguments.batch or 1,
        boxes=arguments.with_decode,
        raw=arguments.raw,
    )
    print(f'{loaded.arch} ({weights}), input {spec.height} x {spec.width}\nwritten:')
    print('\n'.join('  ' + path for path in files))
    return 0


def _positive(text):
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number of at least 1')
    return int(text)
