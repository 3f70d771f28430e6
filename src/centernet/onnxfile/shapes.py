"""What is known of a graph's values before it runs: their shapes, and which of them are constant.

onnx's own inference stops at operators that it does not know, and so at most deformable convolutions. Even
with ordinary convolutions in their place it depends on the release (onnx 1.8.1 stops at Split of opset 9), so
the two stacks would export different graphs.
"""

import functools
import operator
from typing import Dict, NamedTuple, Optional, Tuple, Union

import numpy as np

from . import deform_conv
from .constants import MOVING, TooLargeError, compute
from .graph import Graph
from .opsets import op_types

#: sizes: int, str (the name of an open size) or None (unknown)
Shape = Tuple[Union[int, str, None], ...]


class Facts(NamedTuple):
    """``shapes``: value name -> shape, of values whose rank is known. ``constants``: value name -> array."""

    shapes: Dict[str, Shape]
    constants: Dict[str, np.ndarray]


_SAME = op_types(
    'Abs BatchNormalization Cast Ceil Clip Dropout Exp Floor Identity LeakyRelu Neg PRelu Relu Sigmoid'
    ' Softmax Sqrt Tanh'
)
_BROADCAST = op_types('Add And Div Equal Greater Less Max Min Mod Mul Or Pow Sub Sum Where')
_SIZES_FOR_OPEN = (2, 3)
#: bytes of constants that one graph may compute
_MOST_FOLDED = 1 << 28


def infer_shapes(graph: Graph) -> Dict[str, Shape]:
    """Value name -> shape, of values whose rank is known."""
    return examine(graph).shapes


def examine(graph: Graph, lenient: bool = False) -> Facts:
    """The :class:`Facts` of a graph whose nodes are in order. Initializers are among the constants.

    Args:
        lenient: skip damaged nodes instead of raising their errors.

    Raises:
        TooLargeError: the graph computes constants that are far larger than itself. A damaged node may raise
            any exception.
    """
    shapes = {value.name: tuple(value.shape) for value in graph.inputs if value.shape is not None}
    shapes.update((name, array.shape) for name, array in graph.initializers.items())
    constants = dict(graph.initializers)
    fixed, room = set(graph.initializers), _MOST_FOLDED
    for node in graph.nodes:
        if room < 0:
            raise TooLargeError(f'its constants make more than {_MOST_FOLDED / 1e6:.0f} MB of others')
        try:
            found = _constants(node, shapes, constants)
            if found is not None:
                room -= sum(array.nbytes for array in found)
                constants.update(zip(node.outputs, found))
                fixed.update(node.outputs)
                shapes.update((name, array.shape) for name, array in zip(node.outputs, found))
            else:
                shapes.update(_shapes_of(graph, node, shapes, constants))
                # no image is needed for it, so a runtime computes it at once, whether or not it is known here
                if node.inputs and all(name in fixed for name in node.inputs if name):
                    fixed.update(node.outputs)
                    room -= sum(_bytes(shapes.get(name)) for name in node.outputs)
        except TooLargeError:
            raise
        except Exception:
            if not lenient:
                raise
    return Facts(shapes, constants)


def _bytes(shape: Optional[Shape]) -> int:
    """The size of a float32 value, 0 where it is not known."""
    if shape is None or not all(isinstance(size, int) for size in shape):
        return 0
    return functools.reduce(operator.mul, shape, 4)


def _shapes_of(graph, node, shapes, constants) -> Dict[str, Shape]:
    """The shapes of the outputs of a node that is not constant."""
    inputs = [shapes.get(name) for name in node.inputs]
    if node.domain or not inputs or inputs[0] is None:
        return {}
    if deform_conv.spelling_of(node):
        found = [_deformable(graph, node, shapes)]
    elif node.op_type in _SPATIAL:
        found = [_SPATIAL[node.op_type](node, inputs, constants)]
    elif node.op_type in _SAME:
        found = [inputs[0]]
    elif node.op_type in _BROADCAST:
        found = [_broadcast(inputs)]
    elif node.op_type in MOVING:
        found = _moved(node, inputs, constants)
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


def _window(sizes, kernel, strides, pads, dilations, up=False) -> Shape:
    """The spatial sizes after a sliding window; ``up`` rounds them up."""

    def after(i, size):
        if not isinstance(size, int):
            return None
        room = size + pads[i] + pads[i + len(sizes)] - dilations[i] * (kernel[i] - 1) - 1
        return -(-room // strides[i]) + 1 if up else room // strides[i] + 1

    return tuple(after(i, size) for i, size in enumerate(sizes))


def _settings(node, count):
    """(strides, pads, dilations) of a convolution or pooling, None if the runtime chooses the padding."""
    if node.attributes.get('auto_pad', 'NOTSET') not in ('NOTSET', ''):
        return None
    return [
        node.attributes.get(key, [default] * length)
        for key, default, length in (('strides', 1, count), ('pads', 0, 2 * count), ('dilations', 1, count))
    ]


def _convolution(node, inputs, constants) -> Optional[Shape]:
    x, weight = inputs[:2]
    settings = _settings(node, len(x) - 2)
    if settings is None or weight is None:
        return None
    return (x[0], weight[0]) + _window(x[2:], weight[2:], *settings)


def _pooling(node, inputs, constants) -> Optional[Shape]:
    x = inputs[0]
    settings = _settings(node, len(x) - 2)
    if settings is None:
        return None
    up = bool(node.attributes.get('ceil_mode'))
    return x[:2] + _window(x[2:], node.attributes['kernel_shape'], *settings, up=up)


def _transposed(node, inputs, constants) -> Optional[Shape]:
    x, weight = inputs[:2]
    count = len(x) - 2
    settings = _settings(node, count)
    if settings is None or weight is None or 'output_shape' in node.attributes:
        return None
    strides, pads, dilations = settings
    extra = node.attributes.get('output_padding', [0] * count)

    def after(i, size):
        if not isinstance(size, int):
            return None
        reach = dilations[i] * (weight[2 + i] - 1) + 1
        return (size - 1) * strides[i] + reach - pads[i] - pads[i + count] + extra[i]

    sides = tuple(after(i, size) for i, size in enumerate(x[2:]))
    return (x[0], weight[1] * node.attributes.get('group', 1)) + sides


def _resized(node, inputs, constants) -> Optional[Shape]:
    """Upsample(x, scales), Resize-10(x, scales), Resize-11(x, roi, scales, sizes)."""
    x = inputs[0]
    if len(node.inputs) > 3:
        sizes = constants.get(node.inputs[3])
        return None if sizes is None else (x[0],) + tuple(int(size) for size in sizes[1:])
    scales = constants.get(node.inputs[-1]) if len(node.inputs) > 1 else node.attributes.get('scales')
    if scales is None or len(scales) != len(x):
        return None
    return tuple(
        int(np.floor(size * scale)) if isinstance(size, int) else size
        for size, scale in zip(x, np.asarray(scales))
    )


def _broadcast(inputs) -> Optional[Shape]:
    if any(shape is None for shape in inputs):
        return None
    rank = max(map(len, inputs))
    sizes = []
    for column in zip(*[(1,) * (rank - len(shape)) + tuple(shape) for shape in inputs]):
        others = {size for size in column if size != 1}
        sizes.append(1 if not others else others.pop() if len(others) == 1 else None)
    return tuple(sizes)


def _concatenated(node, inputs) -> Optional[Shape]:
    axis = node.attributes['axis'] % len(inputs[0])
    if len({len(shape) for shape in inputs}) > 1:
        return None
    column = [shape[axis] for shape in inputs]
    others = [{size for size in sizes if size is not None} or {None} for sizes in zip(*inputs)]
    sides = [sizes.pop() if len(sizes) == 1 else None for sizes in others]
    sides[axis] = sum(column) if all(isinstance(size, int) for size in column) else None
    return tuple(sides)


def _moved(node, inputs, constants):
    """The shapes that an operator of ``MOVING`` produces, found by applying it to arrays that cost no memory.

    An open size is tried as two different numbers: what comes out as these is the open size again.
    """
    unknown = [None] * len(node.outputs)
    if node.op_type == 'Concat' and None not in inputs:
        return [_concatenated(node, inputs)]
    names = {size for shape in inputs if shape is not None for size in shape if not isinstance(size, int)}
    if (
        None in names
        or len(names) > 1
        or any(name and name not in constants and shape is None for name, shape in zip(node.inputs, inputs))
        or (node.op_type == 'Reshape' and node.inputs[1] not in constants)
    ):
        return unknown
    name = names.pop() if names else None

    def array(value, shape, size):
        if value in constants or shape is None:
            return constants.get(value)
        return np.broadcast_to(np.int8(0), [size if side == name else side for side in shape])

    results = []
    for size in _SIZES_FOR_OPEN if name else (1,):
        arrays = [array(value, shape, size) for value, shape in zip(node.inputs, inputs)]
        try:
            results.append([output.shape for output in compute(node, arrays)])
        except (ValueError, IndexError, TooLargeError):  # the open size matters to this node
            return unknown
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
