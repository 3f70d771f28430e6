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

from collections import OrderedDict
from typing import Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from ..checkpoint import Checkpoint
from ..checkpoint.fitting import read_heads
from ..detection import HEADS
from ..detection.heads import why_no_boxes
from ..errors import ModelError, OptionError
from ..onnxfile.graph import Graph
from ..onnxfile.output_chain import chain_before
from ..runners.output_names import by_names, by_numbers


class Identified(NamedTuple):
    """``heads``: the head in each output, in order. ``how``: what decided it, for people. ``channels``: of
    each head."""

    heads: List[str]
    how: str
    channels: Dict[str, int]


def identify(
    graph: Graph, heads: Optional[Sequence[str]] = None, checkpoint: Optional[Checkpoint] = None
) -> Identified:
    """Decide what each output of a graph holds.

    Args:
        graph: its outputs are the heads, each behind a convolution.
        heads: what the user declares: the heads in the order of the outputs.
        checkpoint: the checkpoint that the graph was made from.

    Raises:
        OptionError: ``heads`` does not name each output once.
        ModelError: the graph has other outputs, or nothing decides.
    """
    if heads is not None:
        _check_declared(graph, heads)
        return _checked(graph, list(heads), 'as given')
    lasts = [_last_convolution(graph, name) for name in graph.output_names()]
    if checkpoint is not None:
        return _checked(graph, _by_weights(graph, lasts, checkpoint), 'by the weights of the checkpoint')
    for decide, how in (
        (by_names, 'by the names of the weights'),
        (by_numbers, "by the numbers of the weights (torch 1.0's names)"),
    ):
        found = decide(graph, lasts)
        if found is not None:
            return _checked(graph, found, how)
    raise ModelError(
        'cannot tell which output is wh and which is reg: their weights are called {}; give the checkpoint'
        ' (--weights) or the order (--outputs hm,wh,reg)'.format(', '.join(last.inputs[1] for last in lasts))
    )


def _check_declared(graph, heads):
    """Raise OptionError unless each output gets a name of its own, hm and wh among them."""
    further = [name for name in heads if name not in HEADS]
    if (
        len(heads) != len(graph.outputs)
        or len(set(heads)) < len(heads)
        or not {'hm', 'wh'} <= set(heads)
        or (further and 'reg' not in heads)
        or not all(name.isidentifier() for name in heads)
    ):
        raise OptionError(
            'the file has {} outputs ({}): name each of them once, hm, wh and reg in some order and then'
            ' any others, not {}'.format(len(graph.outputs), ', '.join(graph.output_names()), ','.join(heads))
        )


def _last_convolution(graph, output):
    """The convolution that computes an output, with at most elementwise operators and peaks in between."""
    chain = chain_before(graph, output)
    if chain.convolution is None or chain.convolution.inputs[1] not in graph.initializers:
        raise ModelError(f'cannot tell what the output {output} holds: it is not the result of a convolution')
    return chain.convolution


def _by_weights(graph, lasts, checkpoint):
    heads = []
    for output, last in zip(graph.output_names(), lasts):
        weight = graph.initializers[last.inputs[1]]
        bias = graph.initializers.get(last.input(2))
        fits = [
            head
            for head in read_heads(checkpoint.state_dict)[0]
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


def _checked(graph, heads, how):
    """Check that every head is there once, and that hm, wh and reg have channels that make boxes."""
    names = ', '.join(graph.output_names())
    if len(set(heads)) < len(heads):
        raise ModelError(f'the outputs {names} would be {", ".join(heads)} ({how}): one of them twice')
    channels = OrderedDict(
        (head, len(graph.initializers[_last_convolution(graph, output).inputs[1]]))
        for output, head in zip(graph.output_names(), heads)
    )
    reason = why_no_boxes(channels) if set(heads).intersection(HEADS) else None
    if reason:
        raise ModelError(f'the outputs {names} would be {", ".join(heads)} ({how}): {reason}')
    return Identified(heads, how, channels)
