"""Report what is installed, compiled and visible, and what is missing.

Report what is installed, compiled and visible, and what is missing.

Checks whether the packages can be imported and have the locked versions, whether torch 1.0.0 is patched,
what the deformable convolution is compiled for, which GPUs there are and whether torch supports them, and
the files and folders that flags name. Works with missing and broken packages, and writes
nothing.

exit status: 0 nothing is missing; 1 something that a flag names is missing, a package cannot be imported, or
versions differ from the lock.
"""

import argparse
import json

from ..options.fields import add_flags
from ..options.selection import DataOptions, NetworkOptions
from . import arguments as groups


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    group = parser.add_argument_group('what to check')
    add_flags(group, NetworkOptions, 'weights', 'device')
    add_flags(group, DataOptions, *groups.FOLDERS)
    group.add_argument('--output', metavar='FOLDER', help='folder that must be writable (default: none)')
    parser.add_argument('--json', action='store_true', help='print the report as JSON')


def run(arguments: argparse.Namespace) -> int:
    """Print the report; return the exit status."""
    from ..doctor import examine

    names = ('weights', 'data', 'annotations', 'images', 'device', 'output')
    findings = examine(**{name: getattr(arguments, name) for name in names})
    problems = [item for item in findings if item.level in ('missing', 'differs')]
    status = int(bool(problems))
    if arguments.json:
        print(
            json.dumps({'exit_status': status, 'findings': [item._asdict() for item in findings]}, indent=2)
        )
        return status
    width = max(len(finding.topic) for finding in findings)
    for topic, level, text, advice in findings:
        print(f'{level:<7}  {topic:<{width}}  {text}')
        if advice:
            print(f'{"":<7}  {"":<{width}}  -> {advice}')
    print()
    for level in ('missing', 'differs'):
        topics = [item.topic for item in problems if item.level == level]
        if topics:
            print(f'{level}: {", ".join(topics)}')
    if not problems:
        print('nothing is missing')
    return status
