"""Options that have the same name, default and meaning in every command.

The environment variables WEIGHTS, DATA and DEVICE are the defaults of --weights, --data and --device, so that
a container or a CI job can be set up without touching the command line.
"""

import argparse
import os
from typing import Any, Callable, Optional, Tuple

from ..export.targets import TARGETS
from ..precision import FP32, PRECISIONS
from ..shards import AUTO, parse_shard

#: where fetch puts checkpoints and data, and reproduce looks for them
MODELS_FOLDER, DATA_FOLDER = 'models', 'data/coco'
#: the parent of every command's output folder
OUTPUT_FOLDER = 'output'
#: the choice of --target that stands for all of them
ALL = 'all'


def default_output(command: str) -> str:
    """The default of a command's --output: ``output/<command>``."""
    return f'{OUTPUT_FOLDER}/{command}'


def add_weights(
    group: Any, help_default: str, environment: bool = True, arch: bool = True, several: bool = False
) -> None:
    """Add --weights and, unless ``arch`` is false, --arch and --weights-key.

    Args:
        group: an argparse group.
        help_default: what happens without --weights, for the help.
        environment: whether WEIGHTS is the default.
        arch: whether to add --arch and --weights-key.
        several: whether --weights takes several files; its value is then a list.
    """
    default = os.environ.get('WEIGHTS') or None if environment else None
    what = 'checkpoint, a .pth file, or several to compare' if several else 'checkpoint, a .pth file'
    group.add_argument(
        '--weights',
        metavar='FILE',
        nargs='+' if several else None,
        default=[default] if several and default else default,
        help=f'{what} (default: {"WEIGHTS, else " if environment else ""}{help_default})',
    )
    if not arch:
        return
    group.add_argument(
        '--arch',
        metavar='NAME',
        help='architecture, such as dla_34, resdcn_18, res_18 or hourglass (default: as stored in the'
        ' checkpoint, else dla_34)',
    )
    group.add_argument(
        '--weights-key',
        metavar='NAME',
        help='entry of the checkpoint that holds the weights, such as ema or ema.state_dict; needed where'
        ' there are several (default: the only one)',
    )


def add_size(group: Any, help_default: str) -> None:
    """Add --input-height and --input-width."""
    for side in ('height', 'width'):
        group.add_argument(
            f'--input-{side}',
            type=positive,
            metavar='PIXELS',
            help=f"{side} of the network's input (default: {help_default})",
        )


def add_normalization(group: Any, help_default: str = 'as stored in the file, else coco') -> None:
    """Add --normalization."""
    group.add_argument(
        '--normalization',
        metavar='NAME',
        help='of the pixels, as in training: coco, pascal, half (0.5/1), unit (0/1), or mean and standard'
        f' deviation as B,G,R/B,G,R (default: {help_default})',
    )


def add_device(group: Any) -> None:
    """Add --device."""
    group.add_argument(
        '--device',
        default=os.environ.get('DEVICE') or 'auto',
        metavar='NAME',
        help='auto, cpu, cuda or cuda:N (default: DEVICE, else auto: a GPU if one is usable)',
    )


def add_precision(group: Any) -> None:
    """Add --precision."""
    group.add_argument(
        '--precision',
        choices=PRECISIONS,
        default=FP32,
        help='arithmetic of the network: fp32; on a GPU also tf32 (compute capability 8.0 and newer) or fp16;'
        ' on a CPU with AVX512_BF16 also bf16; faster, and change the figures a little (default: fp32)',
    )


def add_threads(group: Any) -> None:
    """Add --threads."""
    group.add_argument(
        '--threads',
        type=positive,
        metavar='N',
        help='CPU threads (default: OMP_NUM_THREADS, else all available cores)',
    )


def add_data_folder(group: Any, default: Optional[str] = None) -> None:
    """Add --data, --annotations and --images.

    Args:
        group: an argparse group.
        default: what happens without --data, for the help; None: DATA or the sample is used.
    """
    group.add_argument(
        '--data',
        metavar='FOLDER',
        default=None if default else os.environ.get('DATA') or None,
        help="data set in COCO's layout: annotations/instances_val2017.json (or a single annotations/*.json)"
        ' and the images in val2017/, images/val2017/ or images/; or a single *.json with the images beside'
        f' it (default: {default or "DATA, else the built-in sample"})',
    )
    group.add_argument('--annotations', metavar='FILE', help='annotations file (default: found in --data)')
    group.add_argument('--images', metavar='FOLDER', help='folder of the images (default: found in --data)')


def add_data(parser: argparse.ArgumentParser, title: str = 'data') -> None:
    """Add --data, --annotations, --images, --categories, --limit and --ids."""
    group = parser.add_argument_group(title)
    add_data_folder(group)
    group.add_argument(
        '--categories',
        type=parse_categories,
        metavar='LIST',
        help="names or ids of the data set's categories in the order of the network's channels, - for a"
        ' channel without one, such as --categories=-,person,car; or @FILE with one per line (default:'
        ' matched by name, else by the order of the ids)',
    )
    add_limit(group)
    group.add_argument(
        '--ids',
        type=parse_ids,
        metavar='LIST',
        help='only the images with these ids: 139,285 or @FILE with ids separated by white space or commas',
    )


def add_limit(group: Any) -> None:
    """Add --limit."""
    group.add_argument('--limit', type=positive, metavar='N', help='only the first N images (default: all)')


def add_loading(parser: argparse.ArgumentParser) -> None:
    """Add --batch-size and --workers."""
    group = parser.add_argument_group('performance')
    group.add_argument(
        '--batch-size',
        type=positive,
        metavar='N',
        help='images per batch (default: chosen for the device and the input size)',
    )
    group.add_argument(
        '--workers',
        type=not_negative,
        metavar='N',
        help='processes that load images; 0 loads between batches (default: chosen for the device and cores)',
    )


def add_shard(parser: argparse.ArgumentParser, what: str = 'images') -> Any:
    """Add --shard, which :func:`.setup.start` looks at; returns the group, for further options.

    Args:
        parser: the command's.
        what: is divided, for the help.
    """
    group = parser.add_argument_group('several machines')
    group.add_argument(
        '--shard',
        type=shard,
        metavar='I/N',
        help=f'only every Nth of the {what}, from the Ith on, into <output>/shard-I-of-N; auto: as Slurm,'
        ' Kubernetes or the CI system says in its variables (default: all)',
    )
    return group


def add_dask(group: Any) -> None:
    """Add --dask, --shards and --certificates."""
    group.add_argument(
        '--dask',
        metavar='ADDRESS',
        help='spread the images over the workers of this Dask scheduler, tls://host:8786, and merge; the same'
        ' command continues an interrupted run',
    )
    group.add_argument(
        '--shards',
        type=positive,
        metavar='N',
        help='with --dask: how many parts (default: four per worker, and at most 2000 images in each)',
    )
    group.add_argument(
        '--certificates',
        metavar='FOLDER',
        default='certificates',
        help='with --dask: ca.pem, node.pem and node.key of the cluster (default: certificates)',
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


def add_json(group: Any) -> None:
    """Add --json and --no-progress."""
    group.add_argument('--json', action='store_true', help='print the results as JSON; text goes to stderr')
    group.add_argument('--no-progress', action='store_true', help='show no progress bar')


def add_report(group: Any, what: str = '') -> None:
    """Add --report; ``what``: what the page is about, for its help."""
    group.add_argument(
        '--report',
        action='store_true',
        help=f'also make report.html{what}, as centernet report does',
    )


def add_targets(group: Any, extra: Tuple[str, ...] = ()) -> None:
    """Add --target for one or several; :func:`chosen_targets` reads it.

    Args:
        group: an argparse group.
        extra: further choices.
    """
    group.add_argument(
        '--target',
        nargs='+',
        default=[ALL],
        choices=(*TARGETS, ALL, *extra),
        metavar='NAME',
        help='one or more of {} (default: {})'.format(', '.join((*TARGETS, ALL, *extra)), ALL),
    )


def chosen_targets(names: Any) -> Tuple[str, ...]:
    """The names of targets that --target stands for, in the order of the list."""
    return tuple(name for name in TARGETS if ALL in names or name in names)


def shard(text: str) -> Any:
    """``2/3`` -> Shard(2, 3); ``auto`` as it is."""
    found = AUTO if text == AUTO else parse_shard(text)
    if found is None:
        raise argparse.ArgumentTypeError(f'{text!r} is not a shard such as 2/3, the second of three')
    return found


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return _number(text, 1)


def not_negative(text: str) -> int:
    """A whole number of at least 0."""
    return _number(text, 0)


def share(text: str) -> float:
    """A number from 0 to 1."""
    (number,) = _each([text], float, f"'{text}' is not a number from 0 to 1")
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not from 0 to 1')
    return number


def rate(text: str) -> float:
    """A number above 0."""
    (number,) = _each([text], float, f"'{text}' is not a number")
    if not 0 < number < float('inf'):
        raise argparse.ArgumentTypeError(f'{text} is not a number above 0')
    return number


def parse_ids(text: str) -> Tuple[int, ...]:
    """``139,285`` or ``@file`` -> ids."""
    if text.startswith('@'):
        text = _read_list(text[1:], 'ids')
    ids = _each(text.replace(',', ' ').split(), int, 'image ids are whole numbers such as 139,285')
    if not ids:
        raise argparse.ArgumentTypeError('the list of image ids is empty')
    return ids


def parse_categories(text: str) -> Tuple[str, ...]:
    """``person,car,-`` or ``@file`` with one entry per line -> entries."""
    if text == '@':
        raise argparse.ArgumentTypeError('the name of the file is missing behind @')
    if text.startswith('@'):
        entries = _read_list(text[1:], 'categories').strip().splitlines()
    else:
        entries = text.split(',')
    entries = [entry.strip() for entry in entries]
    if not all(entries):
        raise argparse.ArgumentTypeError("an entry of the list of categories is empty; '-' stands for none")
    return tuple(entries)


def parse_scales(text: str) -> Tuple[float, ...]:
    """``0.5,1,1.5`` -> factors."""
    return _each(text.split(','), float, 'scales are numbers such as 0.5,1,1.5')


def _number(text: str, least: int) -> int:
    try:
        number: Optional[int] = int(text)
    except ValueError:
        number = None
    if number is None or number < least:
        raise argparse.ArgumentTypeError(f'must be a whole number of at least {least}, not {text!r}')
    return number


def _read_list(path: str, what: str) -> str:
    try:
        with open(path, encoding='utf-8-sig') as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise argparse.ArgumentTypeError(f'cannot read the list of {what} {path}: {reason}') from None


def _each(words: Any, kind: Callable, message: str) -> Tuple:
    found = []
    for word in words:
        try:
            found.append(kind(word))
        except ValueError:
            raise argparse.ArgumentTypeError(f'{message}, not {word!r}') from None
    return tuple(found)
