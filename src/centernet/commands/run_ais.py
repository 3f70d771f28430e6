"""``centernet run-ais``: run an .om on an Ascend device, for eval-outputs."""

import argparse
import os
from typing import Any

from ..errors import DeviceError
from . import options

NAME = 'run-ais'
HELP = 'run an .om on an Ascend device, and write what eval-outputs reads'
ABOUT = """

This is run_device.py, which centernet dump-inputs writes beside the manifest: copy that where centernet is
not installed. Images are read and preprocessed on the fly. Of each image only the cells around its best peaks
are written, but the outputs of the reference images whole; centernet eval-outputs reads them.

exit status: 0 success; 2 invalid input or options, or something is missing"""
DESCRIPTION = (
    """Run an .om on an Ascend device, through ais_bench's Python interface, on the images of a manifest."""
    + ABOUT
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    add_shared(parser, 'MODEL.om', NAME)


def run(arguments: Any) -> int:
    """Run the network; returns the exit status."""
    return run_network(arguments)


def add_shared(parser: argparse.ArgumentParser, model: str, command: str) -> None:
    """Add the options that run-ais and run-trt have.

    Args:
        parser: of the command.
        model: what its argument is called.
        command: its name.
    """
    parser.add_argument('model', metavar=model, help='the compiled network')
    parser.add_argument(
        '--manifest',
        metavar='FILE',
        default=os.path.join(options.default_output('dump-inputs'), 'manifest.json'),
        help='manifest.json of dump-inputs (default: output/dump-inputs/manifest.json)',
    )
    parser.add_argument('--images', metavar='FOLDER', required=True, help='folder of the images')
    options.add_output(parser, command, 'outputs')
    parser.add_argument(
        '--device-id', type=options.not_negative, default=0, metavar='N', help='which device (default: 0)'
    )
    parser.add_argument(
        '--peaks', type=options.positive, default=100, metavar='N', help='kept of an image (default: 100)'
    )


def run_network(arguments: Any) -> int:
    """Run run_device.py in this process; returns the exit status.

    Raises:
        DeviceError: something is missing or fails.
    """
    from ..offline import run_device

    try:
        run_device.run(
            arguments.model,
            arguments.manifest,
            arguments.images,
            arguments.output,
            arguments.device_id,
            arguments.peaks,
        )
    except run_device.Problem as problem:
        raise DeviceError(str(problem)) from None
    return 0
