"""``centernet eval-pth``: a checkpoint's COCO figures and timings."""

import argparse
from typing import Any

from . import compare, eval_shared, options, setup

NAME = 'eval-pth'
HELP = 'evaluate a checkpoint'
DESCRIPTION = (
    """Evaluate a checkpoint on a data set in COCO's format; or several, each into a folder of its name in the
output folder, with a table of all at the end.
"""
    + eval_shared.DESCRIPTION
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    group = parser.add_argument_group('network')
    options.add_weights(group, "the built-in sample's", several=True)
    options.add_size(group, 'as stored in the checkpoint, else 512')
    options.add_normalization(group)
    options.add_device(group)
    options.add_precision(group)
    options.add_threads(group)
    eval_shared.add_options(parser, NAME)


def run(arguments: Any) -> int:
    """Evaluate; returns the exit status."""
    several = arguments.weights or [None]
    if len(several) > 1:
        return compare.run(arguments, several, _evaluate)
    arguments.weights = several[0]
    return eval_shared.finish(arguments, _evaluate(arguments))


def _evaluate(arguments: Any) -> Any:
    threads = setup.start(arguments)
    return eval_shared.run(arguments, setup.weights_or_sample(arguments), threads, is_onnx=False)
