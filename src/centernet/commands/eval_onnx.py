"""``centernet eval-onnx``: an ONNX file's COCO figures and timings."""

import argparse
from typing import Any

from . import eval_shared, options, setup
from .model_files import exported_files

NAME = 'eval-onnx'
HELP = 'evaluate an ONNX file'
DESCRIPTION = (
    """Evaluate an ONNX file on a data set in COCO's format, with ONNX Runtime and the loop of eval-pth.

The file needs one input, an image batch [N, 3, H, W], and the outputs hm, wh and reg. Files for ATC
(DeformableConv2D) and TensorRT-CenterNet (DCNv2) run through a translation of these operators.
"""
    + eval_shared.DESCRIPTION
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument(
        'model',
        nargs='?',
        metavar='MODEL',
        help='the ONNX file (default: the portable file that export wrote for WEIGHTS, else for the sample;'
        ' exported first if missing)',
    )
    group = parser.add_argument_group('network')
    options.add_size(group, 'fixed by the file, else as stored in its metadata, else 512')
    options.add_normalization(group)
    options.add_device(group)
    options.add_threads(group)
    eval_shared.add_options(parser, NAME)


def run(arguments: Any) -> int:
    """Evaluate; returns the exit status."""
    threads = setup.start(arguments)
    path = arguments.model or exported_files(None, ['portable'])[0]
    return eval_shared.finish(arguments, eval_shared.run(arguments, path, threads, is_onnx=True))
