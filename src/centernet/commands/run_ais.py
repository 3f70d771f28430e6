"""Run an .om on an Ascend device, and write what eval-outputs reads.

Run an .om on an Ascend device, through ais_bench's Python interface, on the images of a manifest.

This is run_device.py, which centernet dump-inputs writes beside the manifest: copy that where centernet is
not installed. Images are read and preprocessed on the fly. Of each image only the cells around its best peaks
are written, but the outputs of the reference images whole; centernet eval-outputs reads them.

exit status: 0 success; 2 invalid input or options, or something is missing
"""

import argparse
from typing import Any

from ..system.errors import DeviceError
from . import arguments as groups


def add_options(parser: argparse.ArgumentParser, model: str = 'MODEL.om', command: str = 'run-ais') -> None:
    """Add this command's options, which are those of run-trt, too.

    Args:
        parser: of the command.
        model: what its argument is called.
        command: its name.
    """
    parser.add_argument('model', metavar=model, help='the compiled network')
    groups.add_manifest(parser.add_argument, 'manifest.json of dump-inputs')
    parser.add_argument('--images', metavar='FOLDER', required=True, help='folder of the images')
    groups.add_output(parser, command, 'outputs')
    for name, kind, default, about in (
        ('--device-id', groups.not_negative, 0, 'which device'),
        ('--peaks', groups.positive, 100, 'kept of an image'),
    ):
        text = f'{about} (default: {default})'
        parser.add_argument(name, type=kind, default=default, metavar='N', help=text)


def run(arguments: Any) -> int:
    """Run run_device.py in this process; returns the exit status.

    Raises:
        DeviceError: something is missing or fails.
    """
    from ..devices import run_device

    names = ('model', 'manifest', 'images', 'output', 'device_id', 'peaks')
    try:
        run_device.run(*(getattr(arguments, name) for name in names))
    except run_device.Problem as problem:
        raise DeviceError(str(problem)) from None
    return 0
