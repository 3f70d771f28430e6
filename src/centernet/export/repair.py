"""Repair a model file that somebody else's export made, for one of the targets: :func:`repair`."""

import os
from collections import Counter, OrderedDict
from typing import List, NamedTuple, Optional, Sequence

from ..checkpoint import LoadedModel
from ..errors import ModelError
from ..files import ensure_folder
from ..onnxfile.graph import Graph, load
from ..onnxfile.loading import check_input, damage_named
from . import identify_outputs, passes
from .atc import write_script
from .build import build
from .metadata import NETWORK_KEYS, save
from .targets import Target, find_target


class Repaired(NamedTuple):
    """``files``: the paths that were written. ``changes``: what was repaired, in lines for people."""

    files: List[str]
    changes: List[str]


def repair(
    path: str,
    output: str,
    target: str = 'ascend',
    heads: Optional[Sequence[str]] = None,
    loaded: Optional[LoadedModel] = None,
) -> Repaired:
    """Repair swapped outputs, names, attributes and the order of the offsets; and simplify the graph.

    Args:
        path: an ONNX file with one input [N, 3, H, W] of fixed size and the three heads as outputs.
        output: the file to write.
        target: a name in :data:`~centernet.export.targets.TARGETS`.
        heads: the heads in the order of the outputs, if the user declares them; None decides it
            (:mod:`.identify_outputs`).
        loaded: the checkpoint that the file was made from, if it is known.

    Raises:
        OptionError: the target is unknown, or ``heads`` does not name each head once.
        ModelError: the file cannot be read, nothing decides which output is which, or the target cannot
            express the graph.
        OutputError: the file cannot be written.
    """
    found = find_target(target)
    graph = load(path)
    with damage_named(path):
        return _repair(graph, path, output, found, heads, loaded)


def _repair(graph: Graph, path, output, target: Target, heads, loaded):
    shape = graph.inputs[0].shape if len(graph.inputs) == 1 else None
    if shape is None or len(shape) != 4 or not all(isinstance(side, int) and side > 0 for side in shape[1:]):
        raise ModelError(
            '{} needs one input [N, 3, H, W] of fixed size; it has {}'.format(
                path, ', '.join(f'{value.name} {value.shape}' for value in graph.inputs) or 'none'
            )
        )
    check_input(path, shape)
    before = _count(graph)
    identified = identify_outputs.identify(graph, heads, None if loaded is None else loaded.checkpoint)
    changes = [_rename_outputs(graph, identified)]
    kept = OrderedDict((key, graph.metadata[key]) for key in NETWORK_KEYS if key in graph.metadata)
    passes.clean(graph)
    built = build(graph, target, shape[0] if isinstance(shape[0], int) else None)
    ensure_folder(os.path.dirname(output) or '.')
    save(built, output, target.name, loaded, kept)
    files = [output] + ([write_script(output, built)] if target.atc_script else [])
    return Repaired(files, changes + _differences(before, _count(built)))


def _rename_outputs(graph, identified) -> str:
    """Name the outputs after what they hold, in place; return what changed."""
    names, heads = graph.output_names(), identified.heads
    for name, head in zip(names, heads):
        graph.rename_value(name, name + '/' + head)
    taken = {name for node in graph.nodes for name in node.inputs + node.outputs}
    for head in heads:
        if head in taken:  # an inner value has this name
            graph.rename_value(head, graph.fresh(head + '/value'))
    for name, head in zip(names, heads):
        graph.rename_value(name + '/' + head, head)
    wrong = [f'{name} holds {head}' for name, head in zip(names, heads) if name != head]
    if wrong:
        return 'outputs renamed: {} ({})'.format(', '.join(wrong), identified.how)
    return f'the outputs have the right names ({identified.how})'


def _count(graph):
    return Counter(node.op_type for node in graph.nodes)


def _differences(before, after):
    """Lines about the operators that were removed and added."""
    lines = []
    for what, difference in (('removed', before - after), ('added', after - before)):
        if difference:
            counts = ', '.join(f'{count} {name}' for name, count in sorted(difference.items()))
            lines.append(f'{what}: {counts}')
    return lines + [f'{sum(after.values())} nodes, {sum(before.values())} before']
