"""The four spellings of a deformable convolution (DCNv2) in ONNX files, read into one form and written from
it.

==================  =======================================  ==========================  =========================================
spelling            operator                                 offsets                     attributes
==================  =======================================  ==========================  =========================================
``onnx``            DeformConv(X, W, offset, B, mask),       dy, dx per tap; mask apart  kernel_shape, strides, pads (4),
                    opset 19                                                             dilations, group, offset_group
``ascend``          DeformableConv2D(x, weight, offsets,     all x, all y, all mask in   strides, pads, dilations (2 each),
                    bias)                                    one tensor                  groups, deformable_groups
``tensorrt``        DCNv2(x, offset, mask, weight, bias)     dy, dx per tap; mask apart  stride, padding, dilation, groups,
                                                                                         deformable_group (numbers)
==================  =======================================  ==========================  =========================================

The fourth is standard operators alone (:mod:`.decompose`), which is only written. In all of them the mask has
been through its sigmoid. Reading is lenient where a file's meaning is clear (numbers for lists of two);
``centernet.export.rules`` says what a reader of the file would refuse.
"""

from typing import NamedTuple, Optional, Tuple

import numpy as np

from ..errors import ModelError
from .graph import Node
from .opsets import raise_opset

#: the first opset with DeformConv
ONNX_OPSET = 19
#: spelling -> its operator
OPERATORS = {'onnx': 'DeformConv', 'ascend': 'DeformableConv2D', 'tensorrt': 'DCNv2'}
_SPELLINGS = {operator: name for name, operator in OPERATORS.items()}


class DeformableConvolution(NamedTuple):
    """A deformable convolution, whatever its spelling; names of values, '' where there is none.

    ``offset`` [N, 2 * deformable_groups * taps, Ho, Wo], dy and dx of each tap, and ``mask`` [N,
    deformable_groups * taps, Ho, Wo]; or, in Ascend's spelling, ``packed`` [N, 3 * deformable_groups * taps,
    Ho, Wo]: all dx, all dy, all masks, and the other two are ''. ``kernel`` is None where the weight is no
    initializer. ``stride``, ``padding``, ``dilation``: (vertical, horizontal).
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


def spelling(node):
    """The spelling of a node, None where it is not a deformable convolution."""
    return None if node.domain else _SPELLINGS.get(node.op_type)


def find(graph):
    """The deformable convolutions of a graph, in order: a list of (node, DeformableConvolution).

    Raises:
        ModelError: a node's inputs or attributes have no clear meaning.
    """
    return [(node, read(graph, node)) for node in graph.nodes if spelling(node)]


def read(graph, node):
    """A node as a :class:`DeformableConvolution`."""
    form = spelling(node)
    names = [node.input(i) for i in range(5)]
    if form == 'onnx':
        x, weight, offset, bias, mask = names
        packed, keys = '', ('strides', 'pads', 'dilations', 'group', 'offset_group')
    elif form == 'ascend':
        x, weight, packed, bias = names[:4]
        offset, mask, keys = '', '', ('strides', 'pads', 'dilations', 'groups', 'deformable_groups')
    else:
        x, offset, mask, weight, bias = names
        packed, keys = '', ('stride', 'padding', 'dilation', 'groups', 'deformable_group')
    if not (x and weight and (offset or packed)):
        raise ModelError('{} lacks inputs: it has {}'.format(_call(node), ', '.join(node.inputs) or 'none'))
    array = graph.initializers.get(weight)
    kernel = tuple(node.attributes.get('kernel_shape') or ()) or (None if array is None else array.shape[2:])
    if kernel is not None and len(kernel) != 2:
        raise ModelError(f'{_call(node)} has a weight of shape {list(array.shape)}, not of four dimensions')
    return DeformableConvolution(
        x,
        weight,
        bias,
        offset,
        mask,
        packed,
        node.outputs[0],
        kernel,
        _pair(node, keys[0], 1),
        _padding(node, keys[1]),
        _pair(node, keys[2], 1),
        _count(node, keys[3]),
        _count(node, keys[4]),
    )


def write(node, form, convolution, name=None):
    """``convolution`` as a node of a spelling.

    Args:
        node: the node whose place it takes; its name is kept unless ``name`` is given.
        form: ``onnx``, ``ascend`` or ``tensorrt``. The offsets must be there in that spelling's order.

    Raises:
        ModelError: the spelling cannot say it.
    """
    c, name = convolution, node.name if name is None else name
    if bool(c.packed) != (form == 'ascend'):
        raise ValueError(f'the offsets have not the order of {form}')
    if form == 'onnx':
        attributes = [('kernel_shape', list(c.kernel))] if c.kernel else []
        attributes += [
            ('strides', list(c.stride)),
            ('pads', list(c.padding * 2)),
            ('dilations', list(c.dilation)),
            ('group', c.groups),
            ('offset_group', c.deformable_groups),
        ]
        return Node(
            'DeformConv', _trim([c.x, c.weight, c.offset, c.bias, c.mask]), [c.output], attributes, name
        )
    if form == 'ascend':
        attributes = [
            ('strides', list(c.stride)),
            ('pads', list(c.padding)),
            ('dilations', list(c.dilation)),
            ('groups', c.groups),
            ('deformable_groups', c.deformable_groups),
        ]
        return Node(
            'DeformableConv2D', _trim([c.x, c.weight, c.packed, c.bias]), [c.output], attributes, name
        )
    if not (c.mask and c.bias):
        raise ModelError(f'{_call(node)}: DCNv2 needs a mask and a bias')
    for what, values in (('stride', c.stride), ('padding', c.padding), ('dilation', c.dilation)):
        if values[0] != values[1]:
            raise ModelError(f'{_call(node)}: DCNv2 has one {what} for both directions, not {list(values)}')
    attributes = [
        ('stride', c.stride[0]),
        ('padding', c.padding[0]),
        ('dilation', c.dilation[0]),
        ('groups', c.groups),
        ('deformable_group', c.deformable_groups),
    ]
    return Node('DCNv2', [c.x, c.offset, c.mask, c.weight, c.bias], [c.output], attributes, name)


def rewrite(graph, form, raise_it=True):
    """Bring all deformable convolutions of a graph to one spelling, in place, with what that takes to
    re-order the offsets.

    Those that have the spelling already are written anew: attributes get the form that its readers take.

    Args:
        form: ``onnx``, ``ascend`` or ``tensorrt``.
        raise_it: for ``onnx``, raise the graph's opset to 19 where it is lower; False leaves that to the
            caller.

    Raises:
        ModelError: a convolution cannot be read, or cannot be said in that spelling.
    """
    found = find(graph)
    for node, convolution in found:
        same = spelling(node) == form
        graph.substitute(
            node, [write(node, form, convolution)] if same else _translate(graph, node, convolution, form)
        )
    if raise_it and form == 'onnx' and found and graph.opset < ONNX_OPSET:
        raise_opset(graph, ONNX_OPSET)


def separate(graph, node):
    """A node's deformable convolution with offset and mask apart, and the list of nodes that separate them
    where they were packed."""
    c = read(graph, node)
    if not c.packed:
        return c, []
    if c.kernel is None:
        raise ModelError(
            f'{_call(node)} has a weight that is computed, so the order of its offsets is not known'
        )
    x, y, mask = np.split(np.arange(3 * c.deformable_groups * c.kernel[0] * c.kernel[1]), 3)
    interleaved = np.stack([y, x], 1).reshape(-1)
    nodes, values = [], []
    for what, channels in (('offset', interleaved), ('mask', mask)):
        value = graph.fresh(f'{node.name or c.output}.{what}')
        nodes.append(
            Node(
                'Gather',
                [c.packed, graph.constant(value + '.channels', channels)],
                [value],
                [('axis', 1)],
                value,
            )
        )
        values.append(value)
    return c._replace(offset=values[0], mask=values[1], packed=''), nodes


def _translate(graph, node, convolution, form):
    convolution, nodes = separate(graph, node)
    if form == 'ascend':
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
        nodes.append(
            Node(
                'Gather',
                [interleaved, graph.constant(packed + '.channels', channels)],
                [packed],
                [('axis', 1)],
                packed,
            )
        )
        convolution = convolution._replace(offset='', mask='', packed=packed)
    return nodes + [write(node, form, convolution)]


def _call(node):
    return '{} {!r}'.format(node.op_type, node.name or (node.outputs or [''])[0])


def _trim(names):
    while names and not names[-1]:
        names = names[:-1]
    return names


def _pair(node, key, default):
    value = node.attributes.get(key, default)
    values = value if isinstance(value, list) else [value, value]
    if len(values) == 4 and values[:2] == [1, 1] and not key.startswith('pad'):
        values = values[2:]  # a number for each dimension of N, C, H, W
    if len(values) != 2 or not all(isinstance(item, int) for item in values):
        raise ModelError(f'{_call(node)} has {key} = {value}, which is neither a number nor two')
    return tuple(values)


def _padding(node, key):
    value = node.attributes.get(key, 0)
    if isinstance(value, list) and len(value) == 4:
        if value[:2] != value[2:]:
            raise ModelError(f'{_call(node)} pads {value} unequally, which no other spelling can say')
        return tuple(value[:2])
    return _pair(node, key, 0)


def _count(node, key):
    value = node.attributes.get(key, 1)
    if not isinstance(value, int) or value < 0:
        raise ModelError(f'{_call(node)} has {key} = {value}, which is no number of groups')
    return value or 1  # Ascend's parser takes 0 for groups that are not given
