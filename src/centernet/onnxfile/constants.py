"""The operators with which exported graphs compute shapes and reorder channels, in numpy.

Each takes its inputs as arrays. Where an attribute became an input in opset 10, 11 or 13, both places are
read.
"""

from typing import List, Optional, Sequence

import numpy as np

from ..errors import ModelError
from .graph import Node
from .protobuf import dtype_of

#: bytes that one node may produce; a file of a few bytes can ask for any size
MOST_BYTES = 1 << 26


class TooLargeError(ModelError):
    """A node computes larger constants than any network needs."""


def compute(node: Node, arrays: Sequence[Optional[np.ndarray]]) -> Optional[List[Optional[np.ndarray]]]:
    """Compute a node.

    Args:
        node: the node.
        arrays: its inputs, None for one that is omitted. Operators of :data:`MOVING` take any dtype.

    Returns:
        Its outputs, or None if the operator, or this use of it, is not supported here.

    Raises:
        TooLargeError: the outputs would exceed :data:`MOST_BYTES`. A damaged node may raise any exception.
    """
    if node.domain or node.op_type not in _OPERATORS:
        return None
    size = _bytes(node, arrays)
    if size > MOST_BYTES:
        raise TooLargeError(
            f'{node.op_type} {node.name!r} makes {size / 1e6:.0f} MB of nothing but constants'
        )
    outputs = _OPERATORS[node.op_type](node, *arrays)
    return outputs if isinstance(outputs, list) else [outputs]


def _bytes(node, arrays):
    """An upper bound of the bytes that a node produces; 0 for operators that cannot enlarge their inputs."""
    if node.op_type == 'ConstantOfShape':
        return _product(arrays[0]) * 8
    if node.op_type == 'Range':
        start, limit, step = (float(np.reshape(array, -1)[0]) for array in arrays)
        return abs(limit - start) / max(abs(step), 1e-300) * 8
    present = [array for array in arrays if array is not None]
    if node.op_type == 'Gather':
        data, indices = present
        return indices.size * data.size // max(1, data.shape[node.attributes.get('axis', 0)]) * data.itemsize
    if node.op_type == 'Concat':
        return sum(array.nbytes for array in present)
    if node.op_type == 'Expand':
        present = [present[0], np.broadcast_to(np.int8(0), [int(size) for size in present[1]])]
    elif node.op_type not in _ELEMENTWISE:
        return 0
    rank = max([array.ndim for array in present] or [0])
    shapes = [(1,) * (rank - array.ndim) + array.shape for array in present]
    return _product([max(sizes) for sizes in zip(*shapes)]) * 8


def _product(sizes):
    found = 1
    for size in sizes:
        found *= int(size)
    return found


def _argument(node, key, array, default=None):
    """An argument that is the input ``array`` or the attribute ``key``: a list of ints, or the default."""
    if array is not None:
        return [int(item) for item in np.reshape(array, -1)]
    return node.attributes.get(key, default)


def _constant(node):
    return np.asarray(node.attributes['value'])


def _shape(node, data):
    return np.array(data.shape, np.int64)


def _gather(node, data, indices):
    return np.take(data, indices.astype(np.int64), axis=node.attributes.get('axis', 0))


def _slice(node, data, starts=None, ends=None, axes=None, steps=None):
    starts, ends = _argument(node, 'starts', starts), _argument(node, 'ends', ends)
    axes = _argument(node, 'axes', axes, list(range(len(starts))))
    steps = _argument(node, 'steps', steps, [1] * len(starts))
    index = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps):
        # ONNX reverses an axis up to its start with a very negative end, Python with None
        index[axis] = slice(start, None if step < 0 and end < -data.shape[axis] else end, step)
    return data[tuple(index)]


def _split(node, data, split=None):
    axis = node.attributes.get('axis', 0)
    sizes = _argument(node, 'split', split)
    if sizes is None:
        each = -(-data.shape[axis] // len(node.outputs))
        sizes = [each] * (len(node.outputs) - 1) + [data.shape[axis] - each * (len(node.outputs) - 1)]
    if len(sizes) != len(node.outputs):
        raise ValueError(f'Split into {len(sizes)} parts has {len(node.outputs)} outputs')
    return np.split(data, np.cumsum(sizes)[:-1], axis=axis)


def _unsqueeze(node, data, axes=None):
    axes = _argument(node, 'axes', axes)
    for axis in sorted(axis % (data.ndim + len(axes)) for axis in axes):
        data = np.expand_dims(data, axis)
    return data


def _squeeze(node, data, axes=None):
    axes = _argument(node, 'axes', axes)
    return np.squeeze(data, None if axes is None else tuple(axes))


def _reshape(node, data, shape=None):
    shape = _argument(node, 'shape', shape)
    return data.reshape([data.shape[i] if size == 0 else size for i, size in enumerate(shape)])


def _flatten(node, data):
    axis = node.attributes.get('axis', 1)
    return data.reshape(int(np.prod(data.shape[:axis])), -1)


def _transpose(node, data):
    return data.transpose(node.attributes.get('perm'))


def _divide(node, a, b):
    if a.dtype.kind == 'f':
        return a / b
    if not np.all(b):
        return None
    return (np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b)).astype(a.dtype)  # ONNX rounds toward 0


def _constant_of_shape(node, shape):
    return np.full(
        [int(size) for size in shape],
        np.reshape(node.attributes.get('value', np.zeros(1, np.float32)), -1)[0],
    )


def _cast(node, data):
    dtype = dtype_of(node.attributes['to'])
    return None if dtype is None else data.astype(dtype)


def _elementwise(function):
    return lambda node, *data: np.asarray(function(*data)).astype(data[0].dtype)


#: operators that only move elements
MOVING = {
    'Identity': lambda node, data: data,
    'Concat': lambda node, *data: np.concatenate(data, node.attributes['axis']),
    'Gather': _gather,
    'Slice': _slice,
    'Split': _split,
    'Unsqueeze': _unsqueeze,
    'Squeeze': _squeeze,
    'Reshape': _reshape,
    'Flatten': _flatten,
    'Transpose': _transpose,
}
_ELEMENTWISE = ('Add', 'Sub', 'Mul', 'Div', 'Floor', 'Ceil', 'Neg', 'Sqrt')
_OPERATORS = dict(
    MOVING,
    Constant=_constant,
    Shape=_shape,
    Cast=_cast,
    Div=_divide,
    ConstantOfShape=_constant_of_shape,
    Range=lambda node, start, limit, step: np.arange(start, limit, step, dtype=start.dtype),
    Expand=lambda node, data, shape: data * np.ones([int(size) for size in shape], data.dtype),
    Add=_elementwise(np.add),
    Sub=_elementwise(np.subtract),
    Mul=_elementwise(np.multiply),
    Floor=_elementwise(np.floor),
    Ceil=_elementwise(np.ceil),
    Neg=_elementwise(np.negative),
    Sqrt=_elementwise(np.sqrt),
)
