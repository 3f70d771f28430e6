"""Repair a model file that somebody else's export made, for one of the targets: :func:`repair`."""

import os
from collections import OrderedDict
from typing import List, NamedTuple, Optional, Sequence, Tuple

from ..checkpoint import LoadedModel
from ..detection import COCO, Normalization
from ..errors import ModelError
from ..files import ensure_folder
from ..onnxfile.graph import Graph, load
from ..onnxfile.loading import check_input, damage_named
from ..onnxfile.output_chain import chain_before
from ..onnxfile.shapes import examine
from ..runners.input_limits import limits_of, metadata_normalization
from . import identify_outputs, passes
from .atc import write_script
from .build import build
from .differences import differences
from .metadata import NETWORK_KEYS, save
from .targets import Target, find_target, why_not

#: what a sigmoid and a search for peaks are written with, as long as nothing is multiplied by a constant
_PLAIN = {
    'Cast',
    'Clip',
    'Constant',
    'Equal',
    'Greater',
    'GreaterOrEqual',
    'Identity',
    'MaxPool',
    'Mul',
    'Sigmoid',
    'Where',
}


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
        target: a name in :data:`~centernet.export.targets.TARGETS`.
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
    found = find_target(target)
    graph = load(path)
    with damage_named(path):
        return _repair(graph, path, output, found, heads, loaded, normalization)


def _repair(graph: Graph, path, output, target: Target, heads, loaded, normalization):
    shape = graph.inputs[0].shape if len(graph.inputs) == 1 else None
    if shape is None or len(shape) != 4 or not all(isinstance(side, int) and side > 0 for side in shape[1:]):
        raise ModelError(
            '{} needs one input [N, 3, H, W] of fixed size; it has {}'.format(
                path, ', '.join(f'{value.name} {value.shape}' for value in graph.inputs) or 'none'
            )
        )
    check_input(path, shape)
    identified = identify_outputs.identify(graph, heads, None if loaded is None else loaded.checkpoint)
    changes = _rename_outputs(graph, identified) + _remove_sigmoid(graph, path)
    before = graph.copy()
    used, notes = _normalization(graph, loaded, normalization)
    changes += notes
    kept = OrderedDict((key, graph.metadata[key]) for key in NETWORK_KEYS if key in graph.metadata)
    passes.clean(graph)
    reason = why_not(target, identified.channels)
    if reason:
        raise ModelError(f'target {target.name}: {reason}')
    built = build(graph, target, shape[0] if isinstance(shape[0], int) else None)
    ensure_folder(os.path.dirname(output) or '.')
    save(built, output, target.name, used, loaded, kept)
    files = [output] + ([write_script(output, built)] if target.atc_script else [])
    return Repaired(files, changes + differences(before, built))


def _rename_outputs(graph, identified) -> List[str]:
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
    changed = [
        f'output {name} renamed to {head}, which it holds' for name, head in zip(names, heads) if name != head
    ]
    return [f'{line} ({identified.how})' for line in changed] or [
        f'the outputs have the right names ({identified.how})'
    ]


def _normalization(graph, loaded, wanted) -> Tuple[Normalization, List[str]]:
    """The normalization to record, and lines about what was assumed or contradicts it."""
    recorded = [
        (where, found)
        for where, found in (
            ('the file', metadata_normalization(graph.metadata)),
            ('the checkpoint', limits_of(loaded).normalization if loaded else None),
        )
        if found is not None
    ]
    if wanted is None and not recorded:
        return COCO, ['normalization: coco is assumed and recorded, as the file does not name one']
    used = recorded[0][1] if wanted is None else wanted
    return used, [
        f'normalization: {used} is recorded, although {where} says {found}'
        for where, found in recorded
        if not found.same(used)
    ]


def _remove_sigmoid(graph, path) -> List[str]:
    """Make the output hm logits at every cell where it is a probability or holds only peaks, in place; return
    what changed."""
    chain = chain_before(graph, 'hm') if 'hm' in graph.output_names() else None
    if chain is None or not (chain.is_probability or chain.only_peaks):
        return []
    constants = examine(graph).constants
    scaled = any(
        node.op_type == 'Mul' and any(name in constants for name in node.inputs) for node in chain.nodes
    )
    if scaled or chain.operators - _PLAIN:
        raise ModelError(
            f'{path}: its output hm is made of the logits by more than a sigmoid and a search for peaks'
            f' ({chain}); export it again with the logits as output'
        )
    probability = graph.fresh('hm/probability')
    graph.rename_value('hm', probability)
    graph.rename_value(chain.convolution.outputs[0], 'hm')
    graph.outputs = [
        value._replace(name='hm') if value.name == probability else value for value in graph.outputs
    ]
    graph.remove_dead()
    return [f'output hm: {chain} removed, so that it holds logits']
