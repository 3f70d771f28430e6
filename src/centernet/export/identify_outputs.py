"""Decide which head each output holds, from the graph: wh and reg have the same shape.

The first of these that applies decides:

1. what the user declares;
2. a checkpoint: the output's last convolution has exactly the weights of one of its heads;
3. names: that convolution's weight is named after its module, as in ``wh.2.weight`` (torch 1.2 and newer);
4. numbers: torch 1.0 names the weights 1, 2, 3, ... in the order of the state dict, where CenterNet's
   networks have their heads in the order hm, wh, reg. This needs such a name for every weight of the graph.

The names, order and values of the outputs decide nothing: the well-known export script names two of them
wrongly.
"""

import re
from typing import List, NamedTuple, Optional, Sequence

import numpy as np

from ..checkpoint import Checkpoint
from ..detection import HEADS
from ..errors import ModelError, OptionError
from ..onnxfile.graph import Graph


class Identified(NamedTuple):
    """``heads``: hm, wh or reg for each output, in order. ``how``: what decided it, for people."""

    heads: List[str]
    how: str


def identify(
    graph: Graph, heads: Optional[Sequence[str]] = None, checkpoint: Optional[Checkpoint] = None
) -> Identified:
    """Decide what each output of a graph holds.

    Args:
        graph: three outputs, each behind a convolution.
        heads: what the user declares: the heads in the order of the outputs.
        checkpoint: the checkpoint that the graph was made from.

    Raises:
        OptionError: ``heads`` does not name each head once.
        ModelError: the graph has other outputs, or nothing decides.
    """
    if len(graph.outputs) != len(HEADS):
        raise ModelError(
            'the model has {} outputs ({}); a detector has hm, wh and reg'.format(
                len(graph.outputs), ', '.join(graph.output_names())
            )
        )
    if heads is not None:
        if sorted(heads) != sorted(HEADS):
            raise OptionError('the outputs are hm, wh and reg in some order, not {}'.format(','.join(heads)))
        return _checked(graph, list(heads), 'as given')
    lasts = [_last_convolution(graph, name) for name in graph.output_names()]
    if checkpoint is not None:
        return _checked(graph, _by_weights(graph, lasts, checkpoint), 'by the weights of the checkpoint')
    for decide, how in (
        (_by_names, 'by the names of the weights'),
        (_by_numbers, "by the numbers of the weights (torch 1.0's names)"),
    ):
        found = decide(graph, lasts)
        if found is not None:
            return _checked(graph, found, how)
    raise ModelError(
        'cannot tell which output is wh and which is reg: their weights are called {}; give the checkpoint'
        ' (--weights) or the order (--outputs hm,wh,reg)'.format(', '.join(last.inputs[1] for last in lasts))
    )


def _last_convolution(graph, output):
    """The convolution that computes an output, with at most elementwise operators in between."""
    producers = graph.producers()
    name = output
    while name in producers:
        node = producers[name]
        if node.op_type == 'Conv' and not node.domain and node.inputs[1] in graph.initializers:
            return node
        reads = [value for value in node.inputs if value and value not in graph.initializers]
        if node.op_type not in ('Identity', 'Sigmoid', 'Clip', 'Cast', 'Mul', 'Add') or len(reads) != 1:
            break
        (name,) = reads
    raise ModelError(f'cannot tell what the output {output} holds: it is not the result of a convolution')


def _by_weights(graph, lasts, checkpoint):
    heads = []
    for output, last in zip(graph.output_names(), lasts):
        weight = graph.initializers[last.inputs[1]]
        bias = graph.initializers.get(last.input(2))
        fits = [
            head
            for head in HEADS
            for key in checkpoint.state_dict
            if key.startswith(head + '.') and _is_module(checkpoint.state_dict, key, weight, bias)
        ]
        if len(set(fits)) != 1:
            raise ModelError(
                'the output {} has the weights of {} in the checkpoint: was the model made from it?'.format(
                    output, ' and '.join(sorted(set(fits))) or 'no head'
                )
            )
        heads.append(fits[0])
    return heads


def _is_module(state_dict, key, weight, bias):
    """Whether ``key`` is the weight of a module that has exactly this weight and bias."""
    stem, _, kind = key.rpartition('.')
    return (
        kind == 'weight'
        and np.array_equal(state_dict[key].numpy(), weight)
        and (bias is None or np.array_equal(state_dict[stem + '.bias'].numpy(), bias))
    )


def _by_names(graph, lasts):
    heads = []
    for last in lasts:
        parts = set(last.inputs[1].split('.')[:-1]).intersection(HEADS)
        if len(parts) != 1:
            return None
        heads += parts
    return heads


def _by_numbers(graph, lasts):
    if not all(re.match(r'\d+$', name) for name in graph.initializers):
        return None
    numbers = [int(last.inputs[1]) for last in lasts]
    return [HEADS[sorted(numbers).index(number)] for number in numbers]


def _checked(graph, heads, how):
    """Check that every head is there once, with the right number of channels."""
    if sorted(heads) != sorted(HEADS):
        raise ModelError(
            'the outputs {} would be {} ({}); a detector has hm, wh and reg'.format(
                ', '.join(graph.output_names()), ', '.join(heads), how
            )
        )
    for output, head in zip(graph.output_names(), heads):
        last = _last_convolution(graph, output)
        channels = len(graph.initializers[last.inputs[1]])
        if head != 'hm' and channels != 2:
            raise ModelError(
                f'the output {output} would be {head} ({how}), which has 2 channels; it has {channels}'
            )
    return Identified(heads, how)
