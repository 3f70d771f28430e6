"""What every command begins and ends with: threads, folders and shards; and how it prints.

Heavy imports come after :func:`start`, which has to set up threads before torch is imported.
"""

import json
import logging
import os
import sys
from typing import Any, Iterable, List, Optional, TextIO

from ..options.fields import read_flags
from ..options.protocol import Protocol
from ..options.selection import DataOptions, Loading, NetworkOptions, Selection
from ..system.device import apply_threads, prepare_threads
from ..system.errors import OptionError, OutputError
from ..system.files import display_path, ensure_folder
from ..system.shards import AUTO, WHOLE, shard_of_engine

_log = logging.getLogger(__name__)
#: set in the image: paths of the container mean folders of the host there
IN_CONTAINER = bool(os.environ.get('CENTERNET_CONTAINER'))


def start(arguments: Any) -> None:
    """Set up threads, check the paths that were given, and choose the shard and its folder.

    Args:
        arguments: parsed options; ``threads``, ``output``, ``shard`` and paths are looked at where a command
            has them.

    Raises:
        OptionError: in the container, a path is missing; or --shard auto finds no shard.
        OutputError: the output folder cannot be written.
    """
    _check_paths(arguments)
    arguments.threads = prepare_threads(getattr(arguments, 'threads', None))
    apply_threads(arguments.threads)
    read_shard(arguments)
    if getattr(arguments, 'shard', WHOLE) is not WHOLE:  # 1/1 has a folder, too, as an array of one task
        arguments.output = os.path.join(arguments.output, arguments.shard.folder)
    if getattr(arguments, 'output', None):
        try:
            ensure_folder(arguments.output)
        except OutputError as error:
            hint = '; on the host, change its owner or mode, or name another folder with OUTPUT_DIR'
            raise OutputError(f'{error}{hint if IN_CONTAINER else ""}') from error


def read_shard(arguments: Any) -> None:
    """Replace --shard auto by the shard that the engine's variables name."""
    if getattr(arguments, 'shard', None) == AUTO:
        arguments.shard, read_from = shard_of_engine()
        _log.info('shard %s (%s)', arguments.shard, read_from)


def read_plan(arguments: Any, file: str) -> Any:
    """The :class:`~centernet.runs.plan.Plan` of parsed options for a network's file."""
    from ..runs.plan import Plan

    return Plan(
        file=file,
        network=read_flags(NetworkOptions, arguments),
        data=read_flags(DataOptions, arguments),
        protocol=read_flags(Protocol, arguments),
        selection=read_flags(Selection, arguments),
        loading=read_flags(Loading, arguments),
    )


def text_stream(arguments: Any) -> TextIO:
    """Where text for people goes: stdout, or stderr where --json has stdout."""
    return sys.stderr if arguments.json else sys.stdout


def print_json(document: Any) -> None:
    """Print a document on stdout."""
    json.dump(document, sys.stdout, indent=2)
    print()


def print_files(files: Iterable[str], stream: Optional[TextIO] = None) -> None:
    """Print which files were written, as paths that mean the same in the container and on the host."""
    print('\n'.join(['written:'] + ['  ' + display_path(path) for path in files]), file=stream or sys.stdout)


def counted(number: int, noun: str) -> str:
    """Such as ``1 image`` and ``2 images``."""
    return f'{number} {noun}{"" if number == 1 else "s"}'


def _check_paths(arguments: Any) -> None:
    """In the container, explain a missing path by the host's folders; elsewhere the readers report it."""
    if not IN_CONTAINER:
        return
    for name in ('weights', 'data', 'annotations', 'images'):
        given = getattr(arguments, name, None)
        paths: List[str] = given if isinstance(given, list) else [given] if given else []
        for path in paths:
            if not os.path.exists(path):
                raise OptionError(
                    f'{path} does not exist in the container, where models is MODELS_DIR of the host and'
                    ' data is DATA_DIR: with MODELS_DIR=/my/folder, /my/folder/x.pth is models/x.pth'
                )
