"""Write the built-in data set.

Write the built-in data set, pictures of shapes on textured backgrounds, in COCO's layout.

The pictures are the same on every machine. The checkpoint trained for them comes with the package.

exit status: 0 success; 2 invalid input or options
"""

import argparse
from typing import Any

from ..options.fields import add_flags
from ..options.selection import Selection
from ..system.errors import OptionError
from . import arguments as groups
from . import setup


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    add_flags(groups.add_output(parser, 'sample', 'data set'), Selection, 'limit')


def run(arguments: Any) -> int:
    """Write it; returns the exit status."""
    from ..sample import IMAGES, SAMPLE_WEIGHTS, write_sample

    if arguments.limit and arguments.limit > IMAGES:
        raise OptionError(f'--limit: the sample has {IMAGES} images')
    setup.print_files([write_sample(arguments.output, arguments.limit or IMAGES)])
    print(f'checkpoint: {SAMPLE_WEIGHTS}')
    return 0
