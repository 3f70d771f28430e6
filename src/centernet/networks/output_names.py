"""Tell from the weights of a graph which head an output holds, whatever the output is called."""

import re
from typing import List, Optional, Sequence

from ..detection import HEADS
from ..onnxfile.graph import Graph, Node
from ..onnxfile.output_chain import chain_before


def by_names(graph: Graph, lasts: Sequence[Node]) -> Optional[List[str]]:
    """The heads by the names of the weights of their last convolutions, as in ``wh.2.weight``; None if these
    do not tell."""
    heads = []
    for last in lasts:
        parts = [part for part in last.inputs[1].split('.')[:-1] if part not in ('model', 'module')]
        known = set(parts).intersection(HEADS)
        # other heads are told from other layers by the number within the head, as in hps.2.weight
        is_head = len(parts) > 1 and parts[0].isidentifier() and parts[-1].isdigit()
        if len(known) > 1 or not (known or is_head):
            return None
        heads.append(known.pop() if known else parts[0])
    return heads


def by_numbers(graph: Graph, lasts: Sequence[Node]) -> Optional[List[str]]:
    """The same by torch 1.0's numbers of the weights, which follow the state dict: hm, wh, reg."""
    if len(lasts) != len(HEADS) or not all(re.match(r'\d+$', name) for name in graph.initializers):
        return None
    numbers = [int(last.inputs[1]) for last in lasts]
    return [HEADS[sorted(numbers).index(number)] for number in numbers]


def note_on_exchanged(graph: Graph) -> List[str]:
    """A line if outputs are named after other heads than those whose weights compute them."""
    names = [name for name in graph.output_names() if name in HEADS]
    lasts = [chain_before(graph, name).convolution for name in names]
    if not all(last is not None and last.inputs[1] in graph.initializers for last in lasts):
        return []
    found = by_names(graph, lasts) or by_numbers(graph, lasts) or names
    wrong = [
        f'{name} is computed by the weights of {head}' for name, head in zip(names, found) if name != head
    ]
    if not wrong:
        return []
    return [f'warning: outputs seem to be exchanged ({", ".join(wrong)}); centernet modify renames them']


def note_on_image(graph: Graph) -> List[str]:
    """A line if the graph computes something with the image before its first convolution."""
    first = [node.op_type for node in graph.nodes for name in node.inputs if name == graph.inputs[0].name]
    changed = sorted(set(first) - {'Conv', 'Cast', 'Identity', 'Pad', 'Shape'})
    if not changed or len(graph.inputs) != 1:
        return []
    return [
        f'warning: the graph itself changes the image ({", ".join(changed)}): --normalization unit feeds'
        ' pixels divided by 255'
    ]
