"""``centernet sample``: the built-in data set as a folder."""

from . import options

NAME = 'sample'
HELP = 'draw the built-in data set'
DESCRIPTION = """Draw the built-in data set, shapes on textured grounds, into FOLDER/sample in COCO's layout.

The same pictures come out on every machine. The checkpoint that belongs to it comes with the package."""


def add_flags(parser):
    """Add this command's flags to an argparse parser."""
    options.add_output_flag(parser)
    parser.add_argument('--limit', type=int, metavar='N', help='only the first N images (default: all)')


def run(arguments):
    """Draw; returns the exit status."""
    from ..errors import OptionError
    from ..sample import IMAGES, SAMPLE_WEIGHTS, sample_folder

    if arguments.limit is not None and not 1 <= arguments.limit <= IMAGES:
        raise OptionError(f'--limit must be 1 to {IMAGES}, not {arguments.limit}')
    folder = sample_folder(arguments.output, arguments.limit or IMAGES)
    print(f'{folder}\n{SAMPLE_WEIGHTS}')
    return 0
