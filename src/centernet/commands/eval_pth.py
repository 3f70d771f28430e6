"""Evaluate a checkpoint.

Evaluate a checkpoint on a data set in COCO's format; or several, each into a folder of its name in the
output folder, with a table of all at the end.
"""

import argparse
import os
from typing import Any

from . import arguments as groups
from . import evaluation, setup

HELP_TEXT = f'{__doc__}\n{evaluation.__doc__}'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    text = "a .pth file, or several to compare (default: WEIGHTS, else the built-in sample's)"
    several = {'nargs': '+', 'help': text}
    groups.add_network(parser, *groups.CHECKPOINT, 'precision', weights=several)
    evaluation.add_options(parser, 'eval-pth')


def run(arguments: Any) -> int:
    """Evaluate; returns the exit status."""
    setup.read_shard(arguments)
    paths = [arguments.weights] if isinstance(arguments.weights, str) else arguments.weights or [None]
    if len(paths) == 1:
        return evaluation.finish(arguments, _evaluate(arguments, paths[0]))
    found, parent = {}, arguments.output
    for name, path in zip(evaluation.folder_names(paths), paths):
        arguments.output = os.path.join(parent, name)
        found[name] = _evaluate(arguments, path)
        print(file=setup.text_stream(arguments))
    return evaluation.finish_several(arguments, found)


def _evaluate(arguments: Any, weights: Any) -> Any:
    setup.start(arguments)
    from ..runs.plan import weights_or_sample

    arguments.weights = weights
    return evaluation.run(arguments, weights_or_sample(weights, arguments.data or arguments.annotations))
