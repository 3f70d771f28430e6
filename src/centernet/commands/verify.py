"""Verify that ONNX files match their checkpoint.

Compare ONNX files, run by ONNX Runtime, with their checkpoint, run by PyTorch.

  rules       what the file's reader (ATC, TensorRT-CenterNet, ...) rejects or misreads
  heads       the outputs hm, wh and reg of the first images, value by value
  detections  the resulting boxes, matched one to one
  metrics     the twelve COCO metrics over all images

Without --data, images of the built-in sample are used: all of them if the input is small, fewer if it is
large (see --limit). If the network has other classes than the data, or there are no annotations, the metrics
are measured against the PyTorch model's own detections. Writes verification.json and both evaluations into
<output>/<file name>.

exit status: 0 every file matches; 1 a file does not match; 2 invalid input or options
"""

import argparse
from typing import Any

from ..exporting.targets import TARGETS
from . import arguments as groups
from . import setup, verification
from .model_files import exported_files


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument(
        'files',
        nargs='*',
        metavar='MODEL',
        help='ONNX files (default: those that export wrote for the checkpoint; exported first if missing)',
    )
    groups.add_network(parser, *groups.CHECKPOINT)
    groups.add_data(parser)
    groups.add_loading(parser)
    verification.add_options(parser)
    groups.add_json(groups.add_output(parser, 'verify'))


def run(arguments: Any) -> int:
    """Verify; returns the exit status."""
    setup.start(arguments)
    from ..runs.plan import weights_or_sample

    weights = weights_or_sample(arguments.weights, arguments.data or arguments.annotations)
    files = arguments.files or exported_files(
        arguments.weights, list(TARGETS), arguments.arch, arguments.weights_key
    )
    return verification.run(arguments, files, weights, arguments.output)
