"""Evaluate an ONNX file.

Evaluate an ONNX file on a data set in COCO's format, with ONNX Runtime and the loop of eval-pth.

The file needs one input, an image batch [N, 3, H, W], and the outputs hm, wh and reg. Files for ATC
(DeformableConv2D) and TensorRT-CenterNet (DCNv2) run through a translation of these operators.
"""

import argparse
from typing import Any

from . import arguments as groups
from . import evaluation, setup
from .model_files import exported_files

HELP_TEXT = f'{__doc__}\n{evaluation.__doc__}'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument(
        'model',
        nargs='?',
        metavar='MODEL',
        help='the ONNX file (default: the portable file that export wrote for WEIGHTS, else for the sample;'
        ' exported first if missing)',
    )
    groups.add_network(parser)
    evaluation.add_options(parser, 'eval-onnx')


def run(arguments: Any) -> int:
    """Evaluate; returns the exit status."""
    setup.start(arguments)
    path = arguments.model or exported_files(None, ['portable'])[0]
    return evaluation.finish(arguments, evaluation.run(arguments, path))
