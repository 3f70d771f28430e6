"""Groups of flags that several commands have: the records of :mod:`centernet.options`, and what is written
where."""

import argparse
from typing import Any, Dict, Tuple

from ..exporting.targets import TARGETS
from ..options import fields
from ..options.fields import add_flags
from ..options.protocol import Protocol
from ..options.selection import DataOptions, Loading, NetworkOptions, Selection

#: where fetch puts checkpoints and data, and reproduce looks for them
MODELS_FOLDER, DATA_FOLDER = 'models', 'data/coco'
#: the parent of every command's output folder
OUTPUT_FOLDER = 'output'
#: the choice of --target that stands for all of them
ALL = 'all'


def default_output(command: str) -> str:
    """The default of a command's --output: ``output/<command>``."""
    return f'{OUTPUT_FOLDER}/{command}'


#: the fields of NetworkOptions that name a checkpoint
CHECKPOINT = ('weights', 'arch', 'weights_key')
#: the fields of DataOptions that name files
FOLDERS = ('data', 'annotations', 'images')


def add_network(
    parser: argparse.ArgumentParser, *names: str, title: str = 'network', **changes: Dict[str, Any]
) -> Any:
    """Add the flags of a network, its input, and where it runs; returns the group.

    Args:
        parser: the command's.
        names: further fields of NetworkOptions than device and threads.
        title: of the group.
        changes: see :func:`~centernet.options.fields.add_flags`.
    """
    group = parser.add_argument_group(title)
    add_flags(group, NetworkOptions, *names, 'device', 'threads', **changes)
    add_flags(group, Protocol, 'input_height', 'input_width', 'normalization', **changes)
    return group


def add_data(parser: argparse.ArgumentParser, title: str = 'data') -> None:
    """Add the flags that name a data set and select its images."""
    group = parser.add_argument_group(title)
    add_flags(group, DataOptions)
    add_flags(group, Selection, 'limit', 'ids')


def add_recorded_data(parser: argparse.ArgumentParser, where: str) -> None:
    """Add the flags that name the data set of a run that recorded it; ``where``: that, for the help."""
    text = f"data set in COCO's layout (default: as recorded in {where})"
    group = parser.add_argument_group('data')
    add_flags(group, DataOptions, *FOLDERS, data={'help': text, 'default': None})


def add_protocol(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add the flags of the protocol, but those of the input's size and normalization."""
    of_input = ('input_height', 'input_width', 'normalization')
    chosen = names or [name for name in fields.names(Protocol) if name not in of_input]
    add_flags(parser.add_argument_group('protocol'), Protocol, *chosen)


def add_loading(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add --batch-size and --workers, or those of them that are named."""
    chosen = names or ('batch_size', 'workers')
    add_flags(parser.add_argument_group('performance'), Loading, *chosen)


def add_shard(parser: argparse.ArgumentParser) -> Any:
    """Add --shard, which :func:`.setup.start` looks at; returns the group, for further options."""
    group = parser.add_argument_group('several machines')
    add_flags(group, Selection, 'shard')
    return group


def add_dask(group: Any) -> None:
    """Add --dask, --shards and --certificates."""
    group.add_argument(
        '--dask', metavar='ADDRESS', help='let the workers of this Dask scheduler evaluate: tls://host:8786'
    )
    group.add_argument(
        '--shards', type=positive, metavar='N', help='how many, with --dask (default: four per worker)'
    )
    group.add_argument(
        '--certificates',
        metavar='FOLDER',
        default='certificates',
        help='folder of ca.pem, node.pem, node.key (default: certificates)',
    )


def add_output(parser: argparse.ArgumentParser, command: str, what: str = 'results') -> Any:
    """Add --output; returns the group, for further options."""
    group = parser.add_argument_group('output')
    group.add_argument(
        '--output',
        metavar='FOLDER',
        default=default_output(command),
        help=f'folder for the {what} (default: {default_output(command)})',
    )
    return group


def add_resume(group: Any) -> None:
    """Add --resume."""
    group.add_argument(
        '--resume', action='store_true', help='continue an interrupted run with the same options'
    )


def add_json(group: Any, progress: bool = True) -> None:
    """Add --json and, unless ``progress`` is false, --no-progress."""
    group.add_argument('--json', action='store_true', help='print the results as JSON; text goes to stderr')
    if progress:
        group.add_argument('--no-progress', action='store_true', help='show no progress bar')


def add_manifest(add: Any, what: str) -> None:
    """Add --manifest. ``add``: the group's ``add_argument``; ``what``: it is, for the help."""
    default = default_output('dump-inputs') + '/manifest.json'
    add('--manifest', metavar='FILE', default=default, help=f'{what} (default: {default})')


def add_report(group: Any, what: str = '') -> None:
    """Add --report; ``what``: what the page is about, for its help."""
    group.add_argument('--report', action='store_true', help=f'make report.html{what}, as report does')


def add_targets(group: Any, extra: Tuple[str, ...] = ()) -> None:
    """Add --target for one or several; :func:`chosen_targets` reads it. ``extra``: further choices."""
    choices = (*TARGETS, ALL, *extra)
    group.add_argument(
        '--target',
        nargs='+',
        default=[ALL],
        choices=choices,
        metavar='NAME',
        help=f'one or more of {", ".join(choices)} (default: {ALL})',
    )


def chosen_targets(names: Any) -> Tuple[str, ...]:
    """The names of targets that --target stands for, in the order of the list."""
    return tuple(name for name in TARGETS if ALL in names or name in names)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return not_negative(text, 1)


def rate(text: str) -> float:
    """A number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float('inf'):
        raise argparse.ArgumentTypeError(f'{text} is not a number above 0')
    return number


def not_negative(text: str, least: int = 0) -> int:
    """A whole number of at least 0, or ``least``."""
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f'must be a whole number of at least {least}, not {text!r}')
    return number
