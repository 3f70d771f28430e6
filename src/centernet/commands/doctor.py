"""``centernet doctor``: report what is installed and visible, and what is missing."""

import argparse
import json

from . import options

NAME = 'doctor'
HELP = 'report what is installed, compiled and visible, and what is missing'
DESCRIPTION = """Report what is installed, compiled and visible, and what is missing.

Checks whether the packages can be imported and have the locked versions, whether torch 1.0.0 is patched,
what the deformable convolution is compiled for, which GPUs there are and whether torch supports them, the
files and folders that flags name, and free disk space. Works with missing and broken packages, and writes
nothing.

exit status: 0 nothing is missing; 1 something that a flag names is missing, a package cannot be imported, or
versions differ from the lock."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    group = parser.add_argument_group('what to check')
    options.add_weights(group, 'none', arch=False)
    options.add_device(group)
    options.add_data_folder(group)
    group.add_argument('--output', metavar='FOLDER', help='folder that must be writable (default: none)')
    parser.add_argument('--json', action='store_true', help='print the report as JSON')


def run(arguments: argparse.Namespace) -> int:
    """Print the report; return the exit status."""
    from ..doctor import examine

    names = ('weights', 'data', 'annotations', 'images', 'device', 'output')
    findings = examine(**{name: getattr(arguments, name) for name in names})
    missing = [finding.topic for finding in findings if finding.level == 'missing']
    if arguments.json:
        document = {'exit_status': int(bool(missing)), 'findings': [item._asdict() for item in findings]}
        print(json.dumps(document, indent=2))
        return document['exit_status']
    width = max(len(finding.topic) for finding in findings)
    for topic, level, text, advice in findings:
        print(f'{level:<7}  {topic:<{width}}  {text}')
        if advice:
            print(f'{"":<7}  {"":<{width}}  -> {advice}')
    print('\nmissing: ' + ', '.join(missing) if missing else '\nnothing is missing')
    return int(bool(missing))
