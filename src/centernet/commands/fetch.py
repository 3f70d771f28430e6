"""Download the published checkpoints and COCO val2017.

Download, verify and unpack the published checkpoints (dla_34, resdcn_18) and COCO val2017
(1.2 GB).

  weights    ctdet_coco_dla_2x.pth and ctdet_coco_resdcn18.pth, into --models
  coco       annotations/instances_val2017.json and val2017/, into --data
  all        both (the default)

Single files can be named as well, e.g. val2017.zip. Valid files are kept, and an interrupted download is
resumed. A file gets its name only when its size and SHA-256 are right. Files that you already have are used:
put checkpoints into --models, and the two zip archives or their contents into --data. HTTP_PROXY,
HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE are honoured.

exit status: 0 success; 1 some files are missing or invalid; 2 invalid options, or a file cannot be written;
130 or 143 interrupted by Ctrl-C or SIGTERM: the same command resumes.
"""

import shlex
from argparse import ArgumentParser, Namespace

from . import arguments as groups
from . import downloads, setup


def add_options(parser: ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument('what', nargs='*', metavar='WHAT', help='weights, coco, all, or files (default: all)')
    downloads.add_options(parser)
    parser.add_argument('--verify-only', action='store_true', help='verify what exists, download nothing')
    groups.add_json(parser.add_argument_group('output'))


def run(arguments: Namespace) -> int:
    """Fetch; returns the exit status."""
    from ..fetch import check, choose
    from ..system.files import display_path

    say = setup.text_stream(arguments)
    if arguments.verify_only:
        folders = downloads.folders(arguments)
        statuses = [check(file, folders[file.group]) for file in choose(arguments.what)]
        print('\n'.join(map(str, statuses)), file=say)
    else:
        statuses = downloads.fetch_files(arguments, arguments.what, say)
    usable = all(status.usable for status in statuses)
    if usable and not arguments.verify_only and len(statuses) == len(choose()):
        paths = [statuses[0].path, arguments.data_folder]
        weights, data = (shlex.quote(display_path(path)) for path in paths)
        print(f'\nnext: centernet eval-pth --weights {weights} --data {data}', file=say)
    if arguments.json:
        setup.print_json([status._asdict() for status in statuses])
    return 0 if usable else 1
