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
``centernet.exporting.rules`` checks what the reader of a file would reject.
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..system.errors import ModelError
from .graph import Graph, Node


class Spelling(NamedTuple):
    """How one runtime spells the operator.

    ``operator``: in the default domain. ``inputs``: fields of :class:`DeformableConvolution`, in order.
    ``attributes``: what it calls stride, padding, dilation,
    groups and deformable groups.
    """

    operator: str
    inputs: Tuple[str, ...]
    attributes: Tuple[str, str, str, str, str]


#: name -> Spelling
SPELLINGS = {
    'onnx': Spelling(
        'DeformConv',
        ('x', 'weight', 'offset', 'bias', 'mask'),
        ('strides', 'pads', 'dilations', 'group', 'offset_group'),
    ),
    'ascend': Spelling(
        'DeformableConv2D',
        ('x', 'weight', 'packed', 'bias'),
        ('strides', 'pads', 'dilations', 'groups', 'deformable_groups'),
    ),
    'tensorrt': Spelling(
        'DCNv2',
        ('x', 'offset', 'mask', 'weight', 'bias'),
        ('stride', 'padding', 'dilation', 'groups', 'deformable_group'),
    ),
}
_NAMES = {spelling.operator: name for name, spelling in SPELLINGS.items()}


class DeformableConvolution(NamedTuple):
    """A deformable convolution in any spelling. Inputs and output are names of values, '' if absent.

    ``offset`` is [N, 2 * deformable_groups * taps, Ho, Wo], dy and dx of each tap, and ``mask`` [N,
    deformable_groups * taps, Ho, Wo]. In Ascend's spelling both are '' and ``packed`` is [N, 3 *
    deformable_groups * taps, Ho, Wo]: all dx, all dy, all masks. ``kernel`` is None if the weight is not an
    initializer. ``stride``, ``padding`` and ``dilation`` are (vertical, horizontal).
    """

    output: str
    kernel: Optional[Tuple[int, int]]
    stride: Tuple[int, int]
    padding: Tuple[int, int]
    dilation: Tuple[int, int]
    groups: int
    deformable_groups: int
    x: str = ''
    weight: str = ''
    bias: str = ''
    offset: str = ''
    mask: str = ''
    packed: str = ''

    @property
    def taps(self) -> int:
        """How many values of the mask there are for a place of the output. The kernel must be known."""
        return self.deformable_groups * self.kernel[0] * self.kernel[1]


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
    inputs = dict(zip(spelling.inputs, node.inputs))
    if not (inputs.get('x') and inputs.get('weight') and (inputs.get('offset') or inputs.get('packed'))):
        raise ModelError('{} lacks inputs: it has {}'.format(_call(node), ', '.join(node.inputs) or 'none'))
    array = graph.initializers.get(inputs['weight'])
    kernel = tuple(node.attributes.get('kernel_shape') or ()) or (None if array is None else array.shape[2:])
    if kernel is not None and len(kernel) != 2:
        raise ModelError(f'{_call(node)} has a kernel of {len(kernel)} dimensions, not of two')
    sizes = (_pair(node, key, default) for key, default in zip(spelling.attributes, (1, 0, 1)))
    counts = (_count(node, key) for key in spelling.attributes[3:])
    return DeformableConvolution(node.outputs[0], kernel, *sizes, *counts, **inputs)


def write(node: Node, spelling: str, convolution: DeformableConvolution) -> Node:
    """Return ``convolution`` as a node.

    Args:
        node: the node that it replaces, whose name it takes.
        spelling: a name in :data:`SPELLINGS`. The offsets must already be in its order.

    Raises:
        ModelError: the spelling cannot express it.
    """
    c = convolution
    operator, inputs, keys = SPELLINGS[spelling]
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
    return Node(operator, values, [c.output], attributes, node.name)


def rewrite(graph: Graph, spelling: str) -> None:
    """Bring all deformable convolutions of a graph to one spelling, in place.

    Nodes that re-order the offsets are added where needed. Convolutions that have the spelling already are
    written again, so that their attributes get the form that readers expect. The opset stays as it is.

    Args:
        spelling: a name in :data:`SPELLINGS`.

    Raises:
        ModelError: a convolution cannot be read, or the spelling cannot express it.
    """
    for node, c in find(graph):
        nodes = []
        if spelling_of(node) != spelling:
            c, nodes = separate(graph, node)
            if spelling == 'ascend':
                c = _pack(graph, node, c, nodes)
        graph.substitute(node, [*nodes, write(node, spelling, c)])


def separate(graph: Graph, node: Node) -> Tuple[DeformableConvolution, List[Node]]:
    """Read a node as a convolution whose offset and mask are apart, with the nodes that separate them."""
    c = read(graph, node)
    if not c.packed:
        return c, []
    if c.kernel is None:
        raise ModelError(f'{_call(node)} has a computed weight, so the order of its offsets is unknown')
    x, y, mask = np.split(np.arange(3 * c.taps), 3)
    interleaved = np.stack([y, x], 1).reshape(-1)
    nodes, values = [], []
    for what, channels in (('offset', interleaved), ('mask', mask)):
        value = graph.fresh(f'{node.name or c.output}.{what}')
        nodes.append(_select(graph, c.packed, channels, value))
        values.append(value)
    return c._replace(offset=values[0], mask=values[1], packed=''), nodes


def _pack(graph, node, c, nodes):
    """The convolution with offset and mask in one tensor in Ascend's order; further ``nodes`` make it."""
    if not c.mask:
        raise ModelError(f'{_call(node)}: DeformableConv2D needs a mask')
    interleaved, packed = (
        graph.fresh(f'{node.name or c.output}.{what}') for what in ('interleaved', 'packed')
    )
    dy, dx = np.arange(2 * c.taps).reshape(-1, 2).T
    channels = np.concatenate([dx, dy, np.arange(2 * c.taps, 3 * c.taps)])
    nodes.append(Node('Concat', [c.offset, c.mask], [interleaved], [('axis', 1)], interleaved))
    nodes.append(_select(graph, interleaved, channels, packed))
    return c._replace(offset='', mask='', packed=packed)


def _select(graph, source, channels: Sequence[int], value):
    """The node that takes these channels of ``source``; its output is called ``value``."""
    indices = graph.constant(value + '.channels', channels)
    return Node('Gather', [source, indices], [value], [('axis', 1)], value)


def _call(node):
    return f'{node.op_type} {node.label!r}'


def _pair(node, key, default):
    value = node.attributes.get(key, default)
    values = value if isinstance(value, list) else [value, value]
    # four numbers are the padding at both ends, or one for each dimension of N, C, H, W
    if len(values) == 4 and values[:2] == (values[2:] if key.startswith('pad') else [1, 1]):
        values = values[2:]
    if len(values) != 2 or not all(isinstance(item, int) for item in values):
        raise ModelError(f'{_call(node)} has {key} = {value}, which is neither an integer nor a pair of them')
    return tuple(values)


def _count(node, key):
    value = node.attributes.get(key, 1)
    if not isinstance(value, int) or value < 0:
        raise ModelError(f'{_call(node)} has {key} = {value}, which is not a number of groups')
    return value or 1  # Ascend's parser reads a missing value as 0
