"""Run an engine of TensorRT, and write what eval-outputs reads.

Run an engine of TensorRT on an NVIDIA GPU, through the packages tensorrt and cuda-python, on the images of a
manifest.

This is run_device.py, which centernet dump-inputs writes beside the manifest: copy that where centernet is
not installed. Images are read and preprocessed on the fly. Of each image only the cells around its best peaks
are written, but the outputs of the reference images whole; centernet eval-outputs reads them.

exit status: 0 success; 2 invalid input or options, or something is missing
"""

import argparse

from . import run_ais

run = run_ais.run


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    run_ais.add_options(parser, 'MODEL.engine', 'run-trt')
