"""The spellings of a deformable convolution (DCNv2) in ONNX files: read into one record, written from it.

============  ==================================  ==========================  ==============================
spelling      operator                            offsets                     attributes
============  ==================================  ==========================  ==============================
``onnx``      DeformConv(X, W, offset, B, mask),  dy, dx per tap; mask apart  kernel_shape, strides, pads
              opset 19                                                        (4), dilations, group,
                                                                              offset_group
``ascend``    DeformableConv2D(x, weight,         all dx, all dy, all mask    strides, pads, dilations (2
              offsets, bias)                      in one tensor               each), groups,
                                                                              deformable_groups
``tensorrt``  DCNv2(x, offset, mask, weight,      dy, dx per tap; mask apart  stride, padding, dilation,
              bias)                                                           groups, deformable_group
                                                                              (numbers)
============  ==================================  ==========================  ==============================

The fourth spelling, standard operators alone, is only written (:mod:`.decompose`). In all of them the mask
has been through its sigmoid. Reading is lenient where the meaning is clear (a number for a pair);
``centernet.export.rules`` checks what the reader of a file would reject.
"""

from collections import OrderedDict
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..errors import ModelError
from .graph import Graph, Node
from .opsets import raise_opset

#: the first opset with DeformConv
ONNX_OPSET = 19


class Spelling(NamedTuple):
    """How one runtime spells the operator.

    ``operator``: in the default domain. ``inputs``: fields of :class:`DeformableConvolution`, in order;
    ``optional`` are those that may be omitted. ``attributes``: what it calls stride, padding, dilation,
    groups and deformable groups.
    """

    operator: str
    inputs: Tuple[str, ...]
    optional: Tuple[str, ...]
    attributes: Tuple[str, str, str, str, str]


#: name -> Spelling
SPELLINGS = OrderedDict(
    [
        (
            'onnx',
            Spelling(
                'DeformConv',
                ('x', 'weight', 'offset', 'bias', 'mask'),
                ('bias', 'mask'),
                ('strides', 'pads', 'dilations', 'group', 'offset_group'),
            ),
        ),
        (
            'ascend',
            Spelling(
                'DeformableConv2D',
                ('x', 'weight', 'packed', 'bias'),
                ('bias',),
                ('strides', 'pads', 'dilations', 'groups', 'deformable_groups'),
            ),
        ),
        (
            'tensorrt',
            Spelling(
                'DCNv2',
                ('x', 'offset', 'mask', 'weight', 'bias'),
                (),
                ('stride', 'padding', 'dilation', 'groups', 'deformable_group'),
            ),
        ),
    ]
)
_NAMES = {spelling.operator: name for name, spelling in SPELLINGS.items()}


class DeformableConvolution(NamedTuple):
    """A deformable convolution in any spelling. Inputs and output are names of values, '' if absent.

    ``offset`` is [N, 2 * deformable_groups * taps, Ho, Wo], dy and dx of each tap, and ``mask`` [N,
    deformable_groups * taps, Ho, Wo]. In Ascend's spelling both are '' and ``packed`` is [N, 3 *
    deformable_groups * taps, Ho, Wo]: all dx, all dy, all masks. ``kernel`` is None if the weight is not an
    initializer. ``stride``, ``padding`` and ``dilation`` are (vertical, horizontal).
    """

    x: str
    weight: str
    bias: str
    offset: str
    mask: str
    packed: str
    output: str
    kernel: Optional[Tuple[int, int]]
    stride: Tuple[int, int]
    padding: Tuple[int, int]
    dilation: Tuple[int, int]
    groups: int
    deformable_groups: int


def spelling_of(node: Node) -> Optional[str]:
    """The name of a node's spelling, None if it is not a deformable convolution."""
    return None if node.domain else _NAMES.get(node.op_type)


def find(graph: Graph) -> List[Tuple[Node, DeformableConvolution]]:
    """The deformable convolutions of a graph, in order.

    Raises:
        ModelError: the inputs or attributes of a node have no clear meaning.
    """
    return [(node, read(graph, node)) for node in graph.nodes if spelling_of(node)]


def read(graph: Graph, node: Node) -> DeformableConvolution:
    """Read a node, which has a spelling. Raises as :func:`find` does."""
    spelling = SPELLINGS[spelling_of(node)]
    inputs = dict.fromkeys(('x', 'weight', 'bias', 'offset', 'mask', 'packed'), '')
    inputs.update((role, node.input(place)) for place, role in enumerate(spelling.inputs))
    if not (inputs['x'] and inputs['weight'] and (inputs['offset'] or inputs['packed'])):
        raise ModelError('{} lacks inputs: it has {}'.format(_call(node), ', '.join(node.inputs) or 'none'))
    array = graph.initializers.get(inputs['weight'])
    kernel = tuple(node.attributes.get('kernel_shape') or ()) or (None if array is None else array.shape[2:])
    if kernel is not None and len(kernel) != 2:
        raise ModelError(f'{_call(node)} has a kernel of {len(kernel)} dimensions, not of two')
    stride, padding, dilation, groups, deformable_groups = spelling.attributes
    return DeformableConvolution(
        output=node.outputs[0],
        kernel=kernel,
        stride=_pair(node, stride, 1),
        padding=_padding(node, padding),
        dilation=_pair(node, dilation, 1),
        groups=_count(node, groups),
        deformable_groups=_count(node, deformable_groups),
        **inputs,
    )


def write(node: Node, spelling: str, convolution: DeformableConvolution, name: Optional[str] = None) -> Node:
    """Return ``convolution`` as a node.

    Args:
        node: the node that it replaces, whose name it takes unless ``name`` is given.
        spelling: a name in :data:`SPELLINGS`. The offsets must already be in its order.

    Raises:
        ModelError: the spelling cannot express it.
    """
    c = convolution
    operator, inputs, _, keys = SPELLINGS[spelling]
    if bool(c.packed) != ('packed' in inputs):
        raise ValueError(f'the offsets are not in the order of {spelling}')
    stride, padding, dilation = list(c.stride), list(c.padding), list(c.dilation)
    attributes = []
    if spelling == 'onnx':
        attributes = [('kernel_shape', list(c.kernel))] if c.kernel else []
        padding *= 2
    elif spelling == 'tensorrt':
        if not (c.mask and c.bias):
            raise ModelError(f'{_call(node)}: DCNv2 needs a mask and a bias')
        for what, values in (('stride', stride), ('padding', padding), ('dilation', dilation)):
            if values[0] != values[1]:
                raise ModelError(f'{_call(node)}: DCNv2 has one {what} for both directions, not {values}')
        stride, padding, dilation = stride[0], padding[0], dilation[0]
    attributes += zip(keys, (stride, padding, dilation, c.groups, c.deformable_groups))
    values = [getattr(c, role) for role in inputs]
    while not values[-1]:
        values.pop()
    return Node(operator, values, [c.output], attributes, node.name if name is None else name)


def rewrite(graph: Graph, spelling: str, raise_it: bool = True) -> None:
    """Bring all deformable convolutions of a graph to one spelling, in place.

    Nodes that re-order the offsets are added where needed. Convolutions that have the spelling already are
    written again, so that their attributes get the form that readers expect.

    Args:
        spelling: a name in :data:`SPELLINGS`.
        raise_it: for ``onnx``, raise the graph's opset to 19 if it is lower; False leaves that to the caller.

    Raises:
        ModelError: a convolution cannot be read, or the spelling cannot express it.
    """
    found = find(graph)
    for node, convolution in found:
        same = spelling_of(node) == spelling
        graph.substitute(
            node,
            [write(node, spelling, convolution)] if same else _translate(graph, node, convolution, spelling),
        )
    if raise_it and spelling == 'onnx' and found and graph.opset < ONNX_OPSET:
        raise_opset(graph, ONNX_OPSET)


def separate(graph: Graph, node: Node) -> Tuple[DeformableConvolution, List[Node]]:
    """Read a node as a convolution whose offset and mask are apart, with the nodes that separate them."""
    c = read(graph, node)
    if not c.packed:
        return c, []
    if c.kernel is None:
        raise ModelError(f'{_call(node)} has a computed weight, so the order of its offsets is unknown')
    x, y, mask = np.split(np.arange(3 * c.deformable_groups * c.kernel[0] * c.kernel[1]), 3)
    interleaved = np.stack([y, x], 1).reshape(-1)
    nodes, values = [], []
    for what, channels in (('offset', interleaved), ('mask', mask)):
        value = graph.fresh(f'{node.name or c.output}.{what}')
        nodes.append(_select(graph, c.packed, channels, value))
        values.append(value)
    return c._replace(offset=values[0], mask=values[1], packed=''), nodes


def _translate(graph, node, convolution, spelling):
    """The nodes of another spelling."""
    convolution, nodes = separate(graph, node)
    if spelling == 'ascend':
        if not convolution.mask:
            raise ModelError(f'{_call(node)}: DeformableConv2D needs a mask')
        taps = convolution.deformable_groups * convolution.kernel[0] * convolution.kernel[1]
        stem = node.name or convolution.output
        interleaved, packed = graph.fresh(stem + '.interleaved'), graph.fresh(stem + '.packed')
        channels = np.concatenate(
            [np.arange(1, 2 * taps, 2), np.arange(0, 2 * taps, 2), np.arange(2 * taps, 3 * taps)]
        )
        nodes.append(
            Node('Concat', [convolution.offset, convolution.mask], [interleaved], [('axis', 1)], interleaved)
        )
        nodes.append(_select(graph, interleaved, channels, packed))
        convolution = convolution._replace(offset='', mask='', packed=packed)
    return nodes + [write(node, spelling, convolution)]


def _select(graph, source, channels: Sequence[int], value):
    """The node that takes these channels of ``source``; its output is called ``value``."""
    return Node(
        'Gather', [source, graph.constant(value + '.channels', channels)], [value], [('axis', 1)], value
    )


def _call(node):
    return '{} {!r}'.format(node.op_type, node.name or (node.outputs or [''])[0])


def _pair(node, key, default):
    value = node.attributes.get(key, default)
    values = value if isinstance(value, list) else [value, value]
    if len(values) == 4 and values[:2] == [1, 1] and not key.startswith('pad'):
        values = values[2:]  # a number for each dimension of N, C, H, W
    if len(values) != 2 or not all(isinstance(item, int) for item in values):
        raise ModelError(f'{_call(node)} has {key} = {value}, which is neither an integer nor a pair of them')
    return tuple(values)


def _padding(node, key):
    value = node.attributes.get(key, 0)
    if isinstance(value, list) and len(value) == 4:
        if value[:2] != value[2:]:
            raise ModelError(f'{_call(node)} has unequal padding {value}, which no other spelling supports')
        return tuple(value[:2])
    return _pair(node, key, 0)


def _count(node, key):
    value = node.attributes.get(key, 1)
    if not isinstance(value, int) or value < 0:
        raise ModelError(f'{_call(node)} has {key} = {value}, which is not a number of groups')
    return value or 1  # Ascend's parser reads a missing value as 0
