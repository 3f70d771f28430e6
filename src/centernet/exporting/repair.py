"""Repair a model file that somebody else's export made, for one of the targets: :func:`repair`."""

import os
from collections import Counter
from typing import List, NamedTuple, Optional, Sequence, Tuple

from ..detection import COCO, Normalization
from ..networks.checkpoint import LoadedModel
from ..networks.facts import facts_of_checkpoint, facts_of_metadata
from ..onnxfile import deform_conv
from ..onnxfile.graph import Graph, load
from ..onnxfile.loading import check_input, damage_named
from ..onnxfile.opsets import op_types
from ..onnxfile.output_chain import chain_before
from ..onnxfile.shapes import examine
from ..system.errors import ModelError
from ..system.files import ensure_folder
from . import passes
from .build import build
from .identify_outputs import identify
from .metadata import save
from .targets import check_options, find_target

#: what a sigmoid and a search for peaks are written with, as long as nothing is multiplied by a constant
_PLAIN = op_types('Cast Clip Constant Equal Greater GreaterOrEqual Identity MaxPool Mul Sigmoid Where')


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
    normalization: Optional[Normalization] = None,
) -> Repaired:
    """Repair swapped outputs, names, attributes and the order of the offsets; and simplify the graph.

    Args:
        path: an ONNX file with one input [N, 3, H, W] of fixed size and the three heads as outputs.
        output: the file to write.
        target: a name in :data:`~centernet.exporting.targets.TARGETS`.
        heads: the heads in the order of the outputs, if the user declares them; None decides it
            (:mod:`.identify_outputs`).
        loaded: the checkpoint that the file was made from, if it is known.
        normalization: of the input; None takes what the file or the checkpoint records, else COCO's.

    Raises:
        OptionError: the target is unknown, or ``heads`` does not name each head once.
        ModelError: the file cannot be read, nothing decides which output is which, or the target cannot
            express the graph.
        OutputError: the file cannot be written.
    """
    chosen, graph = find_target(target), load(path)
    with damage_named(path):
        shape = graph.inputs[0].shape if len(graph.inputs) == 1 else None
        if not shape or len(shape) != 4 or not all(isinstance(side, int) and side > 0 for side in shape[1:]):
            given = ', '.join(f'{value.name} {value.shape}' for value in graph.inputs) or 'none'
            raise ModelError(f'{path} needs one input [N, 3, H, W] of fixed size; it has {given}')
        check_input(path, shape)
        channels, how = identify(graph, heads, loaded and loaded.checkpoint)
        changes = _rename_outputs(graph, list(channels), how) + _remove_sigmoid(graph, path)
        before = graph.copy()
        used, notes = _normalization(graph, loaded, normalization)
        batch = shape[0] if isinstance(shape[0], int) else None
        check_options(chosen, batch, False, channels)
        passes.clean(graph)
        built = build(graph, chosen, batch)
        ensure_folder(os.path.dirname(output) or '.')
        files = save(built, output, target, used, loaded)
        return Repaired(files, changes + notes + _differences(before, built))


def _rename_outputs(graph, heads, how) -> List[str]:
    """Name the outputs after what they hold, in place; return what changed."""
    names = graph.output_names()
    for name, head in zip(names, heads):
        graph.rename_value(name, name + '/' + head)
    taken = {name for node in graph.nodes for name in node.inputs + node.outputs}
    for head in heads:
        if head in taken:  # an inner value has this name
            graph.rename_value(head, graph.fresh(head + '/value'))
    for name, head in zip(names, heads):
        graph.rename_value(name + '/' + head, head)
    return [
        f'output {name} renamed to {head}, which it holds ({how})'
        for name, head in zip(names, heads)
        if name != head
    ] or [f'the outputs have the right names ({how})']


def _normalization(graph, loaded, wanted) -> Tuple[Normalization, List[str]]:
    """The normalization to record, and lines about what was assumed or contradicts it."""
    in_file = facts_of_metadata(graph.metadata).normalization
    in_checkpoint = facts_of_checkpoint(loaded).normalization if loaded else None
    used = wanted or in_file or in_checkpoint
    if used is None:
        return COCO, ['normalization: coco is assumed and recorded, as the file does not name one']
    return used, [
        f'normalization: {used} is recorded, although {where} says {found}'
        for where, found in (('the file', in_file), ('the checkpoint', in_checkpoint))
        if found is not None and not found.same(used)
    ]


def _remove_sigmoid(graph, path) -> List[str]:
    """Make the output hm logits at every cell where it is a probability or holds only peaks, in place; return
    what changed."""
    chain = chain_before(graph, 'hm') if 'hm' in graph.output_names() else None
    if chain is None or not (chain.is_probability or chain.only_peaks):
        return []
    constants = examine(graph).constants
    scaled = any(node.op_type == 'Mul' and constants.keys() & set(node.inputs) for node in chain.nodes)
    if scaled or chain.operators - _PLAIN:
        raise ModelError(
            f'{path}: more than a sigmoid and a search for peaks makes hm ({chain}): export the logits'
        )
    probability = graph.fresh('hm/probability')
    graph.rename_value('hm', probability)
    graph.rename_value(chain.convolution.outputs[0], 'hm')
    place = graph.output_names().index(probability)
    graph.outputs[place] = graph.outputs[place]._replace(name='hm')
    graph.remove_dead()
    return [f'output hm: {chain} removed, so that it holds logits']


def _differences(before: Graph, after: Graph) -> List[str]:
    """What changed between two graphs of one network, a line for each kind of change."""
    old, new = (Counter(node.op_type for node in graph.nodes) for graph in (before, after))
    lines = []
    for operator, _, keys in deform_conv.SPELLINGS.values():
        if old[operator] and not new[operator]:
            others = [
                spelling.operator for spelling in deform_conv.SPELLINGS.values() if new[spelling.operator]
            ]
            lines.append(f'{old[operator]} {operator} written as {(*others, "standard operators")[0]}')
        changed = [
            {key for key in keys if one.attributes.get(key) != other.attributes.get(key)}
            for one, other in zip(before.find(operator), after.find(operator))
        ]
        if any(changed):
            names = ', '.join(sorted(set().union(*changed), key=keys.index))
            lines.append(f'{sum(map(bool, changed))} {operator}: {names} written as their reader takes them')
    folded = old['BatchNormalization'] - new['BatchNormalization']
    if folded > 0:
        lines.append(f'{folded} BatchNormalization folded into the weights of the convolutions before them')
    handled = {spelling.operator for spelling in deform_conv.SPELLINGS.values()} | {'BatchNormalization'}
    for what, counts in (
        ('removed, as their results are constant or part of the weights', old - new),
        ('added', new - old),
    ):
        counts = [f'{count} {name}' for name, count in sorted(counts.items()) if name not in handled]
        if counts:
            lines.append(f'{what}: {", ".join(counts)}')
    if before.opset != after.opset:
        lines.append(f'opset {after.opset}, {before.opset} before')
    if [node.name for node in before.nodes] != [node.name for node in after.nodes]:
        lines.append('nodes and weights named after their modules, or numbered')
    return lines + [f'{len(after.nodes)} nodes, {len(before.nodes)} before']
