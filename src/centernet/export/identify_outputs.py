"""Which head an output holds: decided from the graph, because wh and reg have the same shape.

In this order, and the first that says anything decides:

1. what the user says;
2. a checkpoint: the output's last convolution has exactly the weights of one of its heads;
3. names: that convolution's weight is called after its module, as in ``wh.2.weight`` (torch 1.2 and newer
write such names); 4. numbers: torch 1.0 calls the weights 1, 2, 3, ... in the order of the state dict, and
   CenterNet's networks register their heads in the order hm, wh, reg (opts.py,
   update_dataset_info_and_set_heads). Only where every weight of the graph has such a name.

Names of outputs, their order and their values decide nothing: the well-known export script names two of them
wrongly.
"""

import re

import numpy as np

from ..detection import HEADS
from ..errors import ModelError, OptionError


def identify(graph, said=None, checkpoint=None):
    """What each output of a graph holds.

    Args:
        graph: three outputs, each behind a convolution.
        said: the heads in the order of the outputs, as the user says it, or None.
        checkpoint: what :func:`centernet.checkpoint.read_checkpoint` gave for the weights that the graph was
            made of, or None.

    Returns:
        (names, how): for each output hm, wh or reg; and what decided, for people.

    Raises:
        OptionError: ``said`` does not name each head once.
        ModelError: the graph has other outputs, or it cannot be decided.
    """
    if len(graph.outputs) != len(HEADS):
        raise ModelError(
            'the model has {} outputs ({}), and a detector has hm, wh and reg'.format(
                len(graph.outputs), ', '.join(graph.output_names())
            )
        )
    if said is not None:
        if sorted(said) != sorted(HEADS):
            raise OptionError('the outputs are hm, wh and reg in some order, not {}'.format(','.join(said)))
        return _checked(graph, list(said), 'as given')
    lasts = [_last_convolution(graph, name) for name in graph.output_names()]
    if checkpoint is not None:
        return _checked(graph, _by_weights(graph, lasts, checkpoint), 'by the weights of the checkpoint')
    for decide, how in (
        (_by_names, 'by the names of the weights'),
        (_by_numbers, "by the numbers of the weights (torch 1.0's names)"),
    ):
        names = decide(graph, lasts)
        if names is not None:
            return _checked(graph, names, how)
    raise ModelError(
        'which of the outputs is wh and which is reg cannot be told: their weights are called {}; give the'
        ' checkpoint (--weights) or say it (--outputs hm,wh,reg)'.format(
            ', '.join(last.inputs[1] for last in lasts)
        )
    )


def _last_convolution(graph, output):
    """The convolution that an output is the result of, elementwise operators in between."""
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
    raise ModelError(
        f'the output {output} is not the result of a convolution, so what it holds cannot be told'
    )


def _by_weights(graph, lasts, checkpoint):
    names = []
    for output, last in zip(graph.output_names(), lasts):
        weight = graph.initializers[last.inputs[1]]
        bias = graph.initializers.get(last.input(2))
        fits = [
            head
            for head in HEADS
            for key, value in checkpoint.state_dict.items()
            if key.startswith(head + '.')
            and key.endswith('.weight')
            and np.array_equal(value.numpy(), weight)
            and (
                bias is None
                or np.array_equal(checkpoint.state_dict[key[: -len('weight')] + 'bias'].numpy(), bias)
            )
        ]
        if len(set(fits)) != 1:
            raise ModelError(
                'the output {} has the weights of {} in the checkpoint: is the model made of that checkpoint?'.format(
                    output, ' and '.join(sorted(set(fits))) or 'no head'
                )
            )
        names.append(fits[0])
    return names


def _by_names(graph, lasts):
    names = []
    for last in lasts:
        parts = set(last.inputs[1].split('.')[:-1]).intersection(HEADS)
        if len(parts) != 1:
            return None
        names += parts
    return names


def _by_numbers(graph, lasts):
    if not all(re.match(r'\d+$', name) for name in graph.initializers):
        return None
    numbers = [int(last.inputs[1]) for last in lasts]
    return [HEADS[sorted(numbers).index(number)] for number in numbers]


def _checked(graph, names, how):
    """The answer, if every head is there once and has the channels that it must have."""
    if sorted(names) != sorted(HEADS):
        raise ModelError(
            'the outputs {} would be {} ({}); a detector has hm, wh and reg'.format(
                ', '.join(graph.output_names()), ', '.join(names), how
            )
        )
    for output, name in zip(graph.output_names(), names):
        last = _last_convolution(graph, output)
        channels = len(graph.initializers[last.inputs[1]])
        if name != 'hm' and channels != 2:
            raise ModelError(
                f'the output {output} would be {name} ({how}), which has 2 channels, and it has {channels}'
            )
    return names, how
