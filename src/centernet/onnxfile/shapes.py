"""What is known of a graph's values before it runs: their shapes, and those that are constant.

onnx's own inference stops at operators it does not know, which a deformable convolution is in three of four
spellings.
"""

from typing import NamedTuple

import numpy as np

from . import deform_conv
from .constants import MOVING, TooLargeError, compute

#: shapes: value name -> tuple of int, str (the name of a size that is open) or None; constants: value name ->
#: numpy array
Facts = NamedTuple('Facts', [('shapes', dict), ('constants', dict)])

_SAME = frozenset(
    (
        'Abs',
        'BatchNormalization',
        'Cast',
        'Ceil',
        'Clip',
        'Dropout',
        'Exp',
        'Floor',
        'Identity',
        'LeakyRelu',
        'Neg',
        'PRelu',
        'Relu',
        'Sigmoid',
        'Softmax',
        'Sqrt',
        'Tanh',
    )
)
_BROADCAST = frozenset(
    (
        'Add',
        'And',
        'Div',
        'Equal',
        'Greater',
        'Less',
        'Max',
        'Min',
        'Mod',
        'Mul',
        'Or',
        'Pow',
        'Sub',
        'Sum',
        'Where',
    )
)
_SIZES_FOR_OPEN = (2, 3)
#: bytes of constants that are computed for one graph
_MOST_FOLDED = 1 << 28


def infer_shapes(graph):
    """Value name -> its shape: a tuple of int, str (a named open size) or None (unknown). Values of unknown
    rank are not in it."""
    return examine(graph).shapes


def examine(graph, lenient=False):
    """The :class:`Facts` of a graph, whose nodes must be in order. Initializers are among the constants.

    Args:
        lenient: nothing is known of a node that makes no sense, where its error would be raised.

    Raises:
        TooLargeError: it computes constants that are far larger than the graph is. What a damaged node raises
            is anything.
    """
    shapes = {value.name: tuple(value.shape) for value in graph.inputs if value.shape is not None}
    shapes.update((name, array.shape) for name, array in graph.initializers.items())
    constants = dict(graph.initializers)
    room = _MOST_FOLDED
    for node in graph.nodes:
        if room < 0:
            raise TooLargeError(f'its constants make more than {_MOST_FOLDED / 1e6:.0f} MB of others')
        try:
            found = _constants(node, shapes, constants)
            if found is not None:
                room -= sum(array.nbytes for array in found)
                constants.update(zip(node.outputs, found))
                shapes.update((name, array.shape) for name, array in zip(node.outputs, found))
            else:
                shapes.update(_shapes_of(graph, node, shapes, constants))
        except TooLargeError:
            raise
        except Exception:
            if not lenient:
                raise
    return Facts(shapes, constants)


def _shapes_of(graph, node, shapes, constants):
    """Output -> shape of a node that is not constant."""
    given = [shapes.get(name) for name in node.inputs]
    if node.domain or not given or given[0] is None:
        return {}
    if deform_conv.spelling(node):
        found = [_deformable(graph, node, shapes)]
    elif node.op_type in _SPATIAL:
        found = [_SPATIAL[node.op_type](node, given, constants)]
    elif node.op_type in _SAME:
        found = [given[0]]
    elif node.op_type in _BROADCAST:
        found = [_broadcast(given)]
    elif node.op_type in MOVING:
        found = _moved(node, given, constants)
    else:
        return {}
    return {name: shape for name, shape in zip(node.outputs, found) if shape is not None}


def _constants(node, shapes, constants):
    """The outputs of a node that can be computed now, or None."""
    if node.op_type == 'Shape' and not node.domain and not node.attributes:
        shape = shapes.get(node.inputs[0])
        known = shape is not None and all(isinstance(size, int) for size in shape)
        return [np.array(shape, np.int64)] if known else None
    if any(name and name not in constants for name in node.inputs):
        return None
    found = compute(node, [constants.get(name) for name in node.inputs])
    return None if found is None or any(array is None for array in found) else found


def _deformable(graph, node, shapes):
    c = deform_conv.read(graph, node)
    weight, offset = shapes.get(c.weight), shapes.get(c.packed or c.offset)
    x = shapes.get(c.x)
    if weight is None or x is None or c.kernel is None:
        return None if offset is None or weight is None else (offset[0], weight[0]) + offset[2:]
    return (x[0], weight[0]) + _window(x[2:], c.kernel, c.stride, c.padding * 2, c.dilation)


def _window(sizes, kernel, strides, pads, dilations, up=False):
    """The spatial sizes after a sliding window."""
    count = len(sizes)
    return tuple(
        None if not isinstance(size, int) else -(-total // stride) + 1 if up else total // stride + 1
        for size, total, stride in (
            (
                size,
                (
                    0
                    if not isinstance(size, int)
                    else size + pads[i] + pads[i + count] - dilations[i] * (kernel[i] - 1) - 1
                ),
                strides[i],
            )
            for i, size in enumerate(sizes)
        )
    )


def _settings(node, count):
    """(strides, pads, dilations) of a convolution or pooling, or None where the padding is left to the
    runtime."""
    if node.attributes.get('auto_pad', 'NOTSET') not in ('NOTSET', ''):
        return None
    return [
        node.attributes.get(key, [default] * length)
        for key, default, length in (('strides', 1, count), ('pads', 0, 2 * count), ('dilations', 1, count))
    ]


def _convolution(node, given, constants):
    settings = _settings(node, len(given[0]) - 2)
    if settings is None or given[1] is None:
        return None
    return (given[0][0], given[1][0]) + _window(given[0][2:], given[1][2:], *settings)


def _pooling(node, given, constants):
    settings = _settings(node, len(given[0]) - 2)
    if settings is None:
        return None
    return given[0][:2] + _window(
        given[0][2:], node.attributes['kernel_shape'], *settings, up=bool(node.attributes.get('ceil_mode'))
    )


def _transposed(node, given, constants):
    count = len(given[0]) - 2
    settings = _settings(node, count)
    if settings is None or given[1] is None or 'output_shape' in node.attributes:
        return None
    strides, pads, dilations = settings
    extra = node.attributes.get('output_padding', [0] * count)
    sides = tuple(
        (
            None
            if not isinstance(size, int)
            else (size - 1) * strides[i]
            - pads[i]
            - pads[i + count]
            + dilations[i] * (given[1][2 + i] - 1)
            + extra[i]
            + 1
        )
        for i, size in enumerate(given[0][2:])
    )
    return (given[0][0], given[1][1] * node.attributes.get('group', 1)) + sides


def _resized(node, given, constants):
    """Upsample(x, scales), Resize-10(x, scales), Resize-11(x, roi, scales, sizes)."""
    if len(node.inputs) > 3:
        sizes = constants.get(node.inputs[3])
        return None if sizes is None else (given[0][0],) + tuple(int(size) for size in sizes[1:])
    scales = constants.get(node.inputs[-1]) if len(node.inputs) > 1 else node.attributes.get('scales')
    if scales is None or len(scales) != len(given[0]):
        return None
    return tuple(
        int(np.floor(size * scale)) if isinstance(size, int) else size
        for size, scale in zip(given[0], np.asarray(scales))
    )


def _broadcast(given):
    if any(shape is None for shape in given):
        return None
    rank = max(map(len, given))
    sizes = []
    for column in zip(*[(1,) * (rank - len(shape)) + tuple(shape) for shape in given]):
        others = {size for size in column if size != 1}
        sizes.append(1 if not others else others.pop() if len(others) == 1 else None)
    return tuple(sizes)


def _concatenated(node, given):
    axis = node.attributes['axis'] % len(given[0])
    if len({len(shape) for shape in given}) > 1:
        return None
    column = [shape[axis] for shape in given]
    others = [{size for size in sizes if size is not None} or {None} for sizes in zip(*given)]
    sides = [sizes.pop() if len(sizes) == 1 else None for sizes in others]
    sides[axis] = sum(column) if all(isinstance(size, int) for size in column) else None
    return tuple(sides)


def _moved(node, given, constants):
    """The shapes of what an operator of ``MOVING`` gives, by doing it to arrays that cost no memory.

    Open sizes are tried as two different numbers: what comes out as these is the open size again.
    """
    if node.op_type == 'Concat' and None not in given:
        return [_concatenated(node, given)]
    names = {size for shape in given if shape is not None for size in shape if not isinstance(size, int)}
    if (
        None in names
        or len(names) > 1
        or any(name and name not in constants and shape is None for name, shape in zip(node.inputs, given))
    ):
        return [None] * len(node.outputs)
    name, tries = (names.pop(), _SIZES_FOR_OPEN) if names else (None, (1, 1))
    results = []
    for trial in tries[: 2 if name else 1]:
        arrays = [
            (
                constants[value]
                if value in constants
                else (
                    None
                    if shape is None
                    else np.broadcast_to(np.int8(0), [trial if size == name else size for size in shape])
                )
            )
            for value, shape in zip(node.inputs, given)
        ]
        if node.op_type == 'Reshape' and node.inputs[1] not in constants:
            return [None] * len(node.outputs)
        try:
            results.append([array.shape for array in compute(node, arrays)])
        except (ValueError, IndexError, TooLargeError):  # the open size matters to this node
            return [None] * len(node.outputs)
    if not name:
        return results[0]
    return [
        tuple(a if a == b else name if (a, b) == _SIZES_FOR_OPEN else None for a, b in zip(*pair))
        for pair in zip(*results)
    ]


_SPATIAL = {
    'Conv': _convolution,
    'ConvTranspose': _transposed,
    'MaxPool': _pooling,
    'AveragePool': _pooling,
    'Upsample': _resized,
    'Resize': _resized,
}
