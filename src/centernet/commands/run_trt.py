"""``centernet run-trt``: run an engine of TensorRT, for eval-outputs."""

import argparse
from typing import Any

from . import run_ais

NAME = 'run-trt'
HELP = 'run an engine of TensorRT, and write what eval-outputs reads'
DESCRIPTION = (
    """Run an engine of TensorRT on an NVIDIA GPU, through the packages tensorrt and cuda-python, on the
images of a manifest."""
    + run_ais.ABOUT
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    run_ais.add_shared(parser, 'MODEL.engine', NAME)


def run(arguments: Any) -> int:
    """Run the network; returns the exit status."""
    return run_ais.run_network(arguments)
