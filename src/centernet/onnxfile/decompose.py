"""A deformable convolution in standard operators of opset 11, for the ``portable`` target and for old
runtimes.

The image becomes a table with one row of channels per pixel, in a frame of zeros. A tap's place is moved into
the frame where it lies beyond it (what is sampled there is 0 in any case), so that its four neighbours are
always rows of the table: Gather takes them, Mul and Add interpolate, and one MatMul does the convolution.
This is :mod:`centernet.dcn.reference` in other words.
"""

import numpy as np

from ..errors import ModelError
from . import deform_conv, protobuf
from .graph import Node
from .opsets import raise_opset
from .shapes import infer_shapes

#: the first opset that has what is used here (Clip on inputs, Range)
OPSET = 11


def decompose(graph):
    """Replace every deformable convolution by standard operators, in place; the opset becomes 11 where it is
    lower.

    Raises:
        ModelError: a convolution cannot be read, has a weight that is computed, or its input's size is not
            known.
    """
    convolutions = deform_conv.find(graph)
    if not convolutions:
        return
    raise_opset(graph, OPSET)
    shapes = infer_shapes(graph)
    for node, _ in convolutions:
        convolution, nodes = deform_conv.separate(graph, node)
        graph.substitute(node, nodes + _Decomposition(graph, node, convolution, shapes).nodes)


class _Decomposition:
    """Makes the nodes for one convolution; ``nodes`` are they."""

    def __init__(self, graph, node, convolution, shapes):
        self.graph, self.stem, self.nodes = graph, node.name or convolution.output, []
        c, weight = convolution, graph.initializers.get(convolution.weight)
        size = shapes.get(c.x)
        if weight is None:
            raise ModelError(
                f'{self.stem!r} has a weight that is computed; it can only be decomposed with a constant one'
            )
        if size is None or not all(isinstance(side, int) for side in size[1:]):
            raise ModelError(f'{self.stem!r} can only be decomposed where the size of its input is known')
        batch, channels, height, width = size
        rows, columns = (
            (side + 2 * pad - step * (taps - 1) - 1) // stride + 1
            for side, pad, step, taps, stride in zip(
                (height, width), c.padding, c.dilation, c.kernel, c.stride
            )
        )
        groups, taps = c.deformable_groups, c.kernel[0] * c.kernel[1]
        places = (rows, columns, groups, taps)

        # [N, groups * taps (* 2), rows, columns] -> [N, rows, columns, groups, taps (, 2)]
        offset = self.add(
            'Transpose', self.reshape(c.offset, (0, groups, taps, 2, rows * columns)), perm=[0, 4, 1, 2, 3]
        )
        near, far = [], []
        for axis, side in ((0, height), (1, width)):
            place = self.add('Gather', offset, self.constant('axis', np.array(axis, np.int64)), axis=4)
            place = self.add(
                'Add', self.reshape(place, (0,) + places), self.constant('taps', _undeformed(c, places, axis))
            )
            place = self.add(
                'Clip', place, self.constant('low', np.float32(-1)), self.constant('high', np.float32(side))
            )
            low = self.add('Floor', place)
            share = self.add('Sub', place, low)
            near.append((low, self.add('Sub', self.constant('one', np.float32(1)), share)))
            far.append(share)
        frame = (
            height + 3,
            width + 3,
        )  # one row of zeros before the image, two behind: a place of exactly ``side`` has a neighbour
        first = self._rows(near[0][0], near[1][0], frame, batch, groups)
        table = self._table(c.x, batch, groups, channels // groups, frame)

        total = None
        mask = c.mask
        if mask:
            mask = self.reshape(
                self.add(
                    'Transpose', self.reshape(mask, (0, groups, taps, rows * columns)), perm=[0, 3, 1, 2]
                ),
                (0,) + places,
            )
        for down in (0, 1):
            across_weight = far[0] if down else near[0][1]
            if mask:
                across_weight = self.add('Mul', across_weight, mask)
            for right in (0, 1):
                weight_here = self.add('Mul', across_weight, far[1] if right else near[1][1])
                index = first
                if down or right:
                    index = self.add(
                        'Add', first, self.constant('step', np.array(down * frame[1] + right, np.int64))
                    )
                part = self.add(
                    'Mul',
                    self.add('Gather', table, index, axis=0),
                    self.reshape(weight_here, (0,) + places + (1,)),
                )
                total = part if total is None else self.add('Add', total, part)

        matrix = self.constant('matrix', _matrix(weight, c))
        product = self.add(
            'MatMul', self.reshape(total, (0, rows * columns, len(self.graph.initializers[matrix]))), matrix
        )
        if c.bias:
            product = self.add('Add', product, c.bias)
        product = self.add('Transpose', product, perm=[0, 2, 1])
        self.reshape(product, (0, weight.shape[0], rows, columns))
        self.nodes[-1].outputs = [c.output]

    def _rows(self, y, x, frame, batch, groups):
        """The table's row of the pixel up and left of each tap, int64 [N, rows, columns, groups, taps]."""
        # whole numbers in float32 are exact up to 2 ** 24; larger ones only arise in int64
        y, x = (
            self.add('Cast', y, to=protobuf.element_type(np.int64)),
            self.add('Cast', x, to=protobuf.element_type(np.int64)),
        )
        row = self.add('Add', self.add('Mul', y, self.constant('width', np.array(frame[1], np.int64))), x)
        start = (
            np.arange(groups).reshape(1, 1, 1, groups, 1) * frame[0] * frame[1] + frame[1] + 1
        )  # the frame's first row and column
        if isinstance(batch, int):
            start = start + np.arange(batch).reshape(-1, 1, 1, 1, 1) * groups * frame[0] * frame[1]
            return self.add('Add', row, self.constant('start', start.astype(np.int64)))
        row = self.add('Add', row, self.constant('start', start.astype(np.int64)))
        count = self.add(
            'Gather', self.add('Shape', y), self.constant('first', np.array(0, np.int64)), axis=0
        )
        images = self.add(
            'Range',
            self.constant('zero', np.array(0, np.int64)),
            count,
            self.constant('one', np.array(1, np.int64)),
        )
        images = self.add(
            'Mul', images, self.constant('image', np.array(groups * frame[0] * frame[1], np.int64))
        )
        return self.add('Add', row, self.reshape(images, (-1, 1, 1, 1, 1)))

    def _table(self, x, batch, groups, channels, frame):
        """The image's pixels as rows, [N * groups * frame, channels]."""
        pads = np.array([0, 0, 1, 1, 0, 0, 2, 2], np.int64)
        padded = self.add(
            'Pad', x, self.constant('frame', pads), self.constant('nothing', np.float32(0)), mode='constant'
        )
        split = self.reshape(padded, (0, groups, channels, frame[0] * frame[1]))
        return self.reshape(self.add('Transpose', split, perm=[0, 1, 3, 2]), (-1, channels))

    def add(self, op_type, *inputs, **attributes):
        """Append a node and return the name of its output."""
        name = self.graph.fresh(f'{self.stem}.{op_type.lower()}')
        self.nodes.append(Node(op_type, inputs, [name], sorted(attributes.items()), name))
        return name

    def constant(self, name, array):
        return self.graph.constant(f'{self.stem}.{name}', array)

    def reshape(self, value, shape):
        return self.add('Reshape', value, self.constant('shape', np.array(shape, np.int64)))


def _undeformed(c, places, axis):
    """Where the taps lie before they are moved: float32 [1, rows, 1, 1, taps] along y (axis 0), [1, 1,
    columns, 1, taps] along x."""
    rows, columns, _, taps = places
    step = (
        np.array([divmod(tap, c.kernel[1])[axis] for tap in range(taps)]) * c.dilation[axis] - c.padding[axis]
    )
    start = np.arange((rows, columns)[axis]) * c.stride[axis]
    return (start.reshape((1, -1, 1, 1, 1) if axis == 0 else (1, 1, -1, 1, 1)) + step).astype(np.float32)


def _matrix(weight, c):
    """The weight [Cout, C / groups, kh, kw] as the matrix [deformable_groups * taps * channels of one,
    Cout]."""
    outputs, per_group = weight.shape[0], weight.shape[1]
    dense = np.zeros((outputs, per_group * c.groups, weight.shape[2] * weight.shape[3]), weight.dtype)
    for group in range(c.groups):
        rows = slice(group * outputs // c.groups, (group + 1) * outputs // c.groups)
        dense[rows, group * per_group : (group + 1) * per_group] = weight[rows].reshape(
            outputs // c.groups, per_group, -1
        )
    dense = dense.reshape(outputs, c.deformable_groups, -1, dense.shape[2])  # [Cout, groups, channels, taps]
    return np.ascontiguousarray(dense.transpose(1, 3, 2, 0).reshape(-1, outputs))
