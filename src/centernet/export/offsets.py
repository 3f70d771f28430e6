"""Fold the order of the offsets into the convolution that predicts them.

A trace has slices, reshapes and concatenations that bring the channels of ``conv_offset_mask`` into order. To
read the order off, numbers are sent through these nodes instead of values: each element is its position in
the convolution's output, and one bit marks those that went through the sigmoid. The weights of the
convolution then take that order, and the nodes are no longer needed.
"""

from typing import List, NamedTuple, Optional

import numpy as np

from ..errors import ModelError
from ..onnxfile import deform_conv
from ..onnxfile.constants import MOVING, compute
from ..onnxfile.graph import Graph, Node
from ..onnxfile.shapes import Facts, examine

# An element's number: its source, whether it went through the sigmoid, its position in the source.
_LARGEST, _MOST_NUMBERS = 1 << 14, 1 << 26
_SOURCE, _SIGMOID = np.int64(1) << 40, np.int64(1) << 39


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
        tracker = _Tracker(graph, facts)
        if c.kernel is None:
            continue
        masks = c.deformable_groups * c.kernel[0] * c.kernel[1]
        values = [c.packed] if c.packed else [c.offset, c.mask]
        channels = [tracker.channels(value) if value else None for value in values]
        if any(found is None for found in channels):
            continue
        channels = [channel for found in channels for channel in found]
        if len(channels) != 3 * masks:
            raise ModelError(
                f'{node.op_type} {node.name or c.output!r} has {len(channels)} channels of offsets and mask;'
                f' it needs {3 * masks}'
            )
        for what, part, expected in (
            ('offsets go', channels[: 2 * masks], False),
            ('mask does not go', channels[2 * masks :], True),
        ):
            if any(channel.sigmoid != expected for channel in part):
                raise ModelError(
                    f'the {what} through a sigmoid before {node.op_type} {node.name or c.output!r}: this is'
                    ' not the operator that CenterNet trains'
                )
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
        return nodes + [
            Node('Concat', [offset, mask], [packed], [('axis', 1)]),
            _with_inputs(node, c._replace(packed=packed)),
        ]
    return nodes + [_with_inputs(node, c._replace(offset=offset, mask=mask))]


def _with_inputs(node, c):
    """The node with the offsets and mask of ``c``; its attributes stay as they are."""
    new = node.copy()
    inputs = deform_conv.SPELLINGS[deform_conv.spelling_of(node)].inputs
    for role in set(inputs).intersection(('offset', 'mask', 'packed')):
        new.inputs[inputs.index(role)] = getattr(c, role)
    return new


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
    bias = np.array(
        [arrays[producer.input(2)][channel] if producer.input(2) else 0 for producer, channel, _ in channels],
        weight.dtype,
    )
    stem = first.inputs[1]
    stem = stem[: -len('.weight')] if stem.endswith('.weight') else stem
    inputs = [first.inputs[0], graph.constant(stem + '.weight', weight), graph.constant(stem + '.bias', bias)]
    return Node('Conv', inputs, [graph.fresh(stem)], first.attributes)


class _Tracker:
    """Follows channels upwards from a value to the nodes that compute them."""

    def __init__(self, graph: Graph, facts: Facts) -> None:
        self._facts, self._producers = facts, graph.producers()
        self._sources, self._numbers = [], {}

    def channels(self, value: str) -> Optional[List[Channel]]:
        """The channels that ``value`` [N, C, H, W] consists of.

        None if it does not consist of whole channels in their places, or if that cannot be decided.
        """
        try:
            numbers = self._follow(value)
        except (ValueError, IndexError, TypeError, KeyError):  # a node does not fit the shape of the numbers
            return None
        if numbers is None or numbers.ndim != 4:
            return None
        found = []
        for channel in range(numbers.shape[1]):
            first = numbers[0, channel, 0, 0]
            name, shape = self._sources[first // _SOURCE]
            sigmoid = bool(first & _SIGMOID)
            place = int(first % _SIGMOID) // (shape[2] * shape[3])
            here = self._base(first // _SOURCE)[:, place] + (_SIGMOID if sigmoid else 0)
            if numbers.shape[:1] + numbers.shape[2:] != here.shape or not np.array_equal(
                numbers[:, channel], here
            ):
                return None
            found.append(Channel(self._producers[name], place, sigmoid))
        return found

    def _follow(self, value):
        """The numbers of a value's elements, or None."""
        if value in self._numbers:
            return self._numbers[value]
        node = self._producers.get(value)
        if node is None:
            return None
        numbers = None
        if node.op_type in MOVING and not node.domain:
            arrays = [self._array(name) for name in node.inputs]
            if any(array is None for array, name in zip(arrays, node.inputs) if name):
                return None
            for name, array in zip(node.outputs, compute(node, arrays)):
                self._numbers[name] = array
            return self._numbers[value]
        if node.op_type == 'Sigmoid' and not node.domain:
            numbers = self._follow(node.inputs[0])
            numbers = None if numbers is None or np.any(numbers & _SIGMOID) else numbers | _SIGMOID
        else:
            shape = self._facts.shapes.get(value)
            if (
                shape is not None
                and len(shape) == 4
                and all(isinstance(side, int) and 0 <= side <= _LARGEST for side in shape[1:])
                and np.prod([float(side) for side in shape[1:]]) < _MOST_NUMBERS
            ):
                self._sources.append((value, (shape[0] if isinstance(shape[0], int) else 1,) + shape[1:]))
                numbers = self._base(len(self._sources) - 1)
        self._numbers[value] = numbers
        return numbers

    def _array(self, name):
        """An input of a node that moves elements: a constant, numbers, or None."""
        if name in self._facts.constants:
            return self._facts.constants[name]
        return self._follow(name) if name else None

    def _base(self, source):
        shape = self._sources[source][1]
        return np.arange(np.prod(shape, dtype=np.int64)).reshape(shape) + source * _SOURCE
