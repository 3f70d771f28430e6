"""``centernet sample``: the built-in data set as a folder."""

import argparse
from typing import Any

from ..errors import OptionError
from . import options, setup

NAME = 'sample'
HELP = 'write the built-in data set'
DESCRIPTION = """Write the built-in data set, pictures of shapes on textured backgrounds, in COCO's layout.

The pictures are the same on every machine. The checkpoint trained for them comes with the package.

exit status: 0 success; 2 invalid input or options"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    group = options.add_output(parser, NAME, 'data set')
    options.add_limit(group)


def run(arguments: Any) -> int:
    """Write it; returns the exit status."""
    from ..sample import IMAGES, SAMPLE_WEIGHTS, write_sample

    if arguments.limit and arguments.limit > IMAGES:
        raise OptionError(f'--limit: the sample has {IMAGES} images')
    setup.print_files([write_sample(arguments.output, arguments.limit or IMAGES)])
    print(f'checkpoint: {SAMPLE_WEIGHTS}')
    return 0
