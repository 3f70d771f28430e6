"""Fold the order of the offsets into the convolution that predicts them.

A trace has slices, reshapes and concatenations that bring the channels of ``conv_offset_mask`` into order. To
read the order off, numbers are sent through these nodes instead of values: each element is its position in
the convolution's output, and a sigmoid adds a larger number to it. The weights of the
convolution then take that order, and the nodes are no longer needed.
"""

import re
from typing import List, NamedTuple, Optional

import numpy as np

from ..onnxfile import deform_conv
from ..onnxfile.constants import MOVING, compute
from ..onnxfile.graph import Graph, Node
from ..onnxfile.shapes import Facts, Shape, examine
from ..system.errors import ModelError

# An element's number: its source, how often it went through a sigmoid, its position in the source.
_MOST_NUMBERS = 1 << 26
_SOURCE, _SIGMOID = 1 << 40, 1 << 30


class Channel(NamedTuple):
    """A channel of a value: the ``channel`` of ``producer``'s output, with or without a ``sigmoid``."""

    producer: Node
    channel: int
    sigmoid: bool


def fold_offset_order(graph: Graph) -> None:
    """Make each deformable convolution's offsets and mask come from one convolution, in order, in place.

    Split and a Sigmoid for the mask follow that convolution (and, in Ascend's spelling, Concat). Two
    convolutions would need no Split, but take 1.3 to 1.4 times as long in onnxruntime 1.32 on a CPU (64 to
    512 channels, 128 x 128 to 16 x 16). Offsets that are not predicted by convolutions stay as they are.

    Raises:
        ModelError: the mask does not go through a sigmoid, or the offsets do.
    """
    facts = examine(graph)
    for node, c in deform_conv.find(graph):
        values = [c.packed] if c.packed else [c.offset, c.mask]
        channels = None if c.kernel is None or '' in values else _channels(graph, facts, values)
        if channels is None:
            continue
        what, masks = f'{node.op_type} {node.label!r}', c.taps
        if len(channels) != 3 * masks:
            raise ModelError(f'{what} has {len(channels)} channels of offsets and mask; it needs {3 * masks}')
        if [channel.sigmoid for channel in channels] != [False] * 2 * masks + [True] * masks:
            raise ModelError(f'{what} is not what CenterNet trains: not its mask alone is a sigmoid')
        convolution = _predict(graph, channels)
        if convolution is not None:
            graph.substitute(node, [convolution] + _apart(graph, node, c, convolution.outputs[0], masks))


def _apart(graph, node, c, predicted, masks):
    """The nodes that make offsets and mask of the convolution's output, and the node that reads them."""
    offset, logits, mask = (graph.fresh(f'{predicted}.{what}') for what in ('offset', 'logits', 'mask'))
    split = Node('Split', [predicted], [offset, logits], [('axis', 1)])
    if graph.opset < 13:
        split.attributes['split'] = [2 * masks, masks]
    else:
        split.inputs.append(graph.constant(predicted + '.split', np.array([2 * masks, masks])))
    nodes = [split, Node('Sigmoid', [logits], [mask])]
    if c.packed:
        packed = graph.fresh(predicted + '.packed')
        nodes.append(Node('Concat', [offset, mask], [packed], [('axis', 1)]))
        c = c._replace(packed=packed)
    else:
        c = c._replace(offset=offset, mask=mask)
    return nodes + [deform_conv.write(node, deform_conv.spelling_of(node), c)]


def _predict(graph, channels: List[Channel]) -> Optional[Node]:
    """A convolution whose output has these channels, None if they do not come from convolutions."""
    first = channels[0].producer
    for producer in {id(channel.producer): channel.producer for channel in channels}.values():
        if (
            producer.op_type != 'Conv'
            or producer.domain
            or any(name and name not in graph.initializers for name in producer.inputs[1:])
            or producer.attributes.get('group', 1) != 1
            or producer.inputs[0] != first.inputs[0]
            or producer.attributes != first.attributes
        ):
            return None
    arrays = graph.initializers
    weight = np.stack([arrays[producer.inputs[1]][channel] for producer, channel, _ in channels])
    biases = [arrays.get(producer.input(2)) for producer, _, _ in channels]
    bias = [0 if array is None else array[channel] for array, (_, channel, _) in zip(biases, channels)]
    bias = np.array(bias, weight.dtype)
    stem = re.sub(r'\.weight$', '', first.inputs[1])
    inputs = [first.inputs[0], graph.constant(stem + '.weight', weight), graph.constant(stem + '.bias', bias)]
    return Node('Conv', inputs, [graph.fresh(stem)], first.attributes)


def _channels(graph: Graph, facts: Facts, values: List[str]) -> Optional[List[Channel]]:
    """The channels that ``values``, each [N, C, H, W], consist of.

    None if they do not consist of whole channels in their places, or if that cannot be decided.
    """
    producers, passed, names, sources = graph.producers(), set(), list(values), []
    while names:
        name = names.pop()
        node = producers.get(name)
        if not name or name in facts.constants or node in passed:
            continue
        if node is not None and not node.domain and (node.op_type in MOVING or node.op_type == 'Sigmoid'):
            passed.add(node)
            names += node.inputs
        elif name not in sources:
            sources.append(name)
    numbers = [_numbers(facts.shapes.get(name), place) for place, name in enumerate(sources)]
    if any(array is None for array in numbers) or not producers.keys() >= set(sources):
        return None
    sigmoid = graph.fresh('sigmoid')
    nodes = [
        Node('Add', [node.inputs[0], sigmoid], node.outputs) if node.op_type == 'Sigmoid' else node
        for node in graph.nodes
        if node in passed
    ]
    arrays = dict(facts.constants, **{sigmoid: np.array(_SIGMOID)}, **dict(zip(sources, numbers)))
    results = [name for name in values if name not in sources]
    computed = compute(nodes, arrays, results, graph.opset) if results else []
    if computed is None:
        return None
    arrays.update(zip(results, computed))
    found = []
    for value in values:
        if arrays[value].ndim != 4 or not arrays[value].size:
            return None
        for channel in range(arrays[value].shape[1]):
            here = arrays[value][:, channel]
            source, number = divmod(int(here[0, 0, 0]), _SOURCE)
            passes, number = divmod(number, _SIGMOID)
            place = number // int(np.prod(numbers[source].shape[2:]))
            if passes > 1 or not np.array_equal(here, numbers[source][:, place] + passes * _SIGMOID):
                return None
            found.append(Channel(producers[sources[source]], place, bool(passes)))
    return found


def _numbers(shape: Optional[Shape], source: int) -> Optional[np.ndarray]:
    """The numbers of a source's elements, None if its shape is not known or too large."""
    if shape is None or len(shape) != 4 or not all(isinstance(side, int) for side in shape[1:]):
        return None
    shape = (shape[0] if isinstance(shape[0], int) else 1,) + shape[1:]
    count = np.prod(shape, dtype=np.float64)
    if count > _MOST_NUMBERS:
        return None
    return np.arange(int(count)).reshape(shape) + source * _SOURCE
