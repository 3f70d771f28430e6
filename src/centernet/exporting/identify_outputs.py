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
from typing import Dict, Optional, Sequence, Tuple

import numpy as np

from ..detection import HEADS
from ..detection.heads import why_no_boxes
from ..networks.checkpoint import Checkpoint
from ..networks.checkpoint.fitting import read_heads
from ..networks.output_names import by_names, by_numbers
from ..onnxfile.graph import Graph
from ..onnxfile.output_chain import chain_before
from ..system.errors import ModelError, OptionError


def identify(
    graph: Graph, heads: Optional[Sequence[str]] = None, checkpoint: Optional[Checkpoint] = None
) -> Tuple[Dict[str, int], str]:
    """Decide what each output of a graph holds.

    Args:
        graph: its outputs are the heads, each behind a convolution.
        heads: what the user declares: the heads in the order of the outputs.
        checkpoint: the checkpoint that the graph was made from.

    Returns:
        The channels of the head in each output, in order, by name; and what decided it, for people.

    Raises:
        OptionError: ``heads`` does not name each output once.
        ModelError: the graph has other outputs, or nothing decides.
    """
    names = graph.output_names()
    lasts = [_last_convolution(graph, name) for name in names]
    if heads is not None:
        if (
            len(set(heads)) != len(names)
            or len(heads) != len(names)
            or not set(heads).issuperset(HEADS[: len(names)])
            or not all(name.isidentifier() for name in heads)
        ):
            raise OptionError(
                f'--outputs {",".join(heads)}: name each of {", ".join(names)} once, as hm, wh, reg'
            )
        how = 'as given'
    elif checkpoint is not None:
        heads, how = _by_weights(graph, lasts, checkpoint), 'by the weights of the checkpoint'
    else:
        heads, how = by_names(graph, lasts), 'by the names of the weights'
        if heads is None:
            heads, how = by_numbers(graph, lasts), "by the numbers of the weights (torch 1.0's names)"
    if heads is None:
        raise ModelError(
            f'cannot tell wh from reg ({[x.inputs[1] for x in lasts]}): give --weights or --outputs'
        )
    channels = OrderedDict(
        (head, len(graph.initializers[last.inputs[1]])) for head, last in zip(heads, lasts)
    )
    if len(channels) < len(names):
        reason = 'one of them twice'
    else:
        reason = why_no_boxes(channels) if set(heads).intersection(HEADS) else None
    if reason:
        raise ModelError(f'the outputs {", ".join(names)} would be {", ".join(heads)} ({how}): {reason}')
    return channels, how


def _last_convolution(graph, output):
    """The convolution that computes an output, with at most elementwise operators and peaks in between."""
    chain = chain_before(graph, output)
    if chain.convolution is None or chain.convolution.inputs[1] not in graph.initializers:
        raise ModelError(f'cannot tell what the output {output} holds: it is not the result of a convolution')
    return chain.convolution


def _by_weights(graph, lasts, checkpoint):
    """The heads that have exactly the weights and biases of these convolutions."""
    found, weights = [], {key: value.numpy() for key, value in checkpoint.state_dict.items()}
    heads = read_heads(checkpoint.state_dict)[0]
    for output, last in zip(graph.output_names(), lasts):
        weight, bias = graph.initializers[last.inputs[1]], graph.initializers.get(last.input(2))
        fits = {
            key.split('.')[0]
            for key in weights
            if key.endswith('.weight')
            and key.split('.')[0] in heads
            and np.array_equal(weights[key], weight)
            and (bias is None or np.array_equal(weights[key[: -len('weight')] + 'bias'], bias))
        }
        if len(fits) != 1:
            names = ' and '.join(sorted(fits)) or 'no head'
            raise ModelError(f'{output} has the weights of {names}: is the file of that checkpoint?')
        found += fits
    return found
