"""``centernet doctor``: what is installed and visible here, and what to do about the rest."""

import json

from . import options

NAME = 'doctor'
HELP = 'say what is installed, compiled, visible and mounted here, and what is missing'
DESCRIPTION = """Say what is installed, compiled, visible and mounted here, and what to do about the rest.

Looks at the versions against the lock of this stack, the patches of torch 1.0.0, the compiled deformable convolution, GPUs and
whether torch has code for them, compilers, in a container its folders, weights and data, shared memory and free space. Each
check stands alone, so that it works when a package is missing or broken. Nothing is written.

Exit status: 0 nothing is missing; 1 something that a flag names is missing, a package cannot be imported, or versions differ
from the lock."""


def add_options(parser):
    """Add this command's flags to an argparse parser."""
    group = parser.add_argument_group('what is asked for')
    group.add_argument('--weights', metavar='FILE', help='checkpoint (.pth) that has to be there')
    options.add_device(group)
    options.add_data_folder(group)
    options.add_output(parser, NAME)
    parser.set_defaults(output=None)  # the default is looked at, too, but nobody asked for it
    parser.add_argument(
        '--json', action='store_true', help='print all findings with their details, for machines'
    )


def run(arguments):
    """Examine; returns the exit status."""
    from ..doctor import Asked, document, examine, exit_status, format_findings

    findings = examine(
        Asked(
            arguments.weights,
            arguments.data,
            arguments.annotations,
            arguments.images,
            arguments.device,
            arguments.output or options.default_output(NAME),
            arguments.output is not None,
        )
    )
    print(json.dumps(document(findings), indent=2) if arguments.json else format_findings(findings))
    return exit_status(findings)
