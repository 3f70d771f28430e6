"""Several checkpoints, one after the other, and a table of all."""

import argparse
import os
from typing import Any, Callable, Dict, List, Sequence

from ..errors import OptionError
from . import setup

_FIGURES = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'AR100')


def run(arguments: Any, paths: Sequence[str], evaluate: Callable[[Any], Any]) -> int:
    """Evaluate checkpoints, each into a folder of its name; returns the exit status.

    Args:
        arguments: parsed options.
        paths: of the checkpoints.
        evaluate: gets the options for one, and returns the Evaluation.

    Raises:
        OptionError: a file is named twice, or is missing.
    """
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:  # which would otherwise show only when the others are finished
        raise OptionError(f'no such checkpoint: {missing[0]}')
    stream = setup.text_stream(arguments)
    setup.read_shard(arguments)
    found = {}
    for name, path in zip(folder_names(paths), paths):
        output = os.path.join(arguments.output, name)
        found[name] = evaluate(argparse.Namespace(**dict(vars(arguments), weights=path, output=output)))
        print(file=stream)
    return finish(arguments, found)


def finish(arguments: Any, found: Dict[str, Any]) -> int:
    """Print the table of Evaluations by name, or all as JSON; returns the exit status."""
    print(
        format_table({name: item.document for name, item in found.items()}), file=setup.text_stream(arguments)
    )
    if arguments.json:
        setup.print_json({'runs': {name: item.document for name, item in found.items()}})
    return max(item.exit_status for item in found.values())


def folder_names(paths: Sequence[str]) -> List[str]:
    """Return a name for each checkpoint: the file's, with those of its folders where files share one."""
    parts = [os.path.splitext(os.path.abspath(path))[0].strip(os.sep).split(os.sep) for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ['-'.join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise OptionError('--weights: a checkpoint is named twice')


def format_table(documents: Dict[str, Any]) -> str:
    """Format the figures of metrics.json documents by name, without a trailing newline."""
    width = max(map(len, documents))
    lines = [' ' * width + ''.join(f'{name:>8}' for name in _FIGURES) + '  images  img/s']
    for name, document in documents.items():
        values = [document['metrics'][figure] for figure in _FIGURES]
        shown = ''.join('     n/a' if value is None else f'{value:8.3f}' for value in values)
        speed = document['timings']['images_per_second']
        lines.append(f'{name:<{width}}{shown}{document["images"]:8}{speed:7.1f}')
    return '\n'.join(lines)
