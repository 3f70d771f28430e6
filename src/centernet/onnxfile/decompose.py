"""A deformable convolution in standard operators of opset 11: for the ``portable`` target, and for running
files on an onnxruntime without DeformConv.

The image becomes a table with one row of channels per pixel, in a frame of zeros. Taps beyond the frame are
moved into it (what is sampled there is 0 in any case), so that the four neighbours of a tap are always rows
of the table. For some rows of the output at a time, so that the values stay in a processor's cache, Gather
fetches the neighbours, one MatMul interpolates between them and another applies the weight. The arithmetic is
that of :mod:`centernet.kernels.reference`.
"""

from typing import Tuple

import numpy as np

from ..system.errors import ModelError
from . import deform_conv, protobuf
from .builder import Builder
from .graph import Graph
from .opsets import raise_opset
from .shapes import examine

#: bytes of interpolated taps of a part, and parts of an output, at most: smaller parts stay in the cache, but
#: each takes six nodes
_PART, _PARTS = 1 << 20, 16
#: the first opset that has what is used here (Clip on inputs, Range)
OPSET = 11


def decompose(graph: Graph) -> None:
    """Replace every deformable convolution by standard operators, in place. A lower opset becomes 11.

    Raises:
        ModelError: a convolution cannot be read, its weight is computed, or the size of its input is unknown.
    """
    convolutions = deform_conv.find(graph)
    if not convolutions:
        return
    raise_opset(graph, OPSET)
    shapes = examine(graph).shapes
    for node, _ in convolutions:
        convolution, nodes = deform_conv.separate(graph, node)
        graph.substitute(node, nodes + _Decomposition(graph, node, convolution, shapes).nodes)
    graph.remove_dead()  # the weights in their former shape


class _Decomposition(Builder):
    """One convolution's ``nodes``. ``places`` is (rows, columns, deformable groups, taps) of the output."""

    def __init__(self, graph, node, convolution, shapes):
        stem = node.name or convolution.output
        super().__init__(graph, stem + '.', str.lower)
        self.convolution = c = convolution
        weight, size = graph.initializers.get(c.weight), shapes.get(c.x)
        if weight is None or size is None or not all(isinstance(side, int) for side in size[1:]):
            what = 'its weight is computed' if weight is None else 'the size of its input is unknown'
            raise ModelError(f'{stem!r} cannot be decomposed: {what}')
        self.batch, channels, *self.sides = size
        rows, columns = (
            (side + 2 * pad - step * (taps - 1) - 1) // stride + 1
            for side, pad, step, taps, stride in zip(self.sides, c.padding, c.dilation, c.kernel, c.stride)
        )
        self.places = (rows, columns, c.deformable_groups, c.kernel[0] * c.kernel[1])
        # one row of zeros before the image, two behind it: a tap at exactly ``side`` has a neighbour
        self.frame = tuple(side + 3 for side in self.sides)
        table = self._table(channels // c.deformable_groups)
        name = self.constant(_matrix(weight, c), 'matrix')
        whole, products = self._neighbours(), []
        lines = max(_PART // (4 * columns * self.places[3] * channels), -(-rows // _PARTS), 1)
        for first in range(0, rows, lines):
            last, part = min(first + lines, rows), whole
            if last - first < rows:
                part = (self._rows(value, first, last) for value in whole)
            neighbours, shares = part
            values = self.add('Gather', table, neighbours, axis=0)
            values = self.add('MatMul', shares, values)
            values = self.reshape(values, (0, (last - first) * columns, -1))
            products.append(self.add('MatMul', values, name))
        product = products[0] if len(products) == 1 else self.add('Concat', *products, axis=1)
        if c.bias:
            product = self.add('Add', product, c.bias)
        self.reshape(self.add('Transpose', product, perm=[0, 2, 1]), (0, weight.shape[0], rows, columns))
        self.nodes[-1].outputs = [c.output]

    def _neighbours(self):
        """The table's rows of the four neighbours of each tap, int64 [N, *places, 4], and their shares times
        the mask, float32 [N, *places, 1, 4]."""
        rows, columns, groups, taps = self.places
        (top, above, below), (left, before, behind) = self._positions()
        shares, mask = [], self.convolution.mask
        if mask:
            flat = self.reshape(mask, (0, groups, taps, rows * columns))
            mask = self.reshape(self.add('Transpose', flat, perm=[0, 3, 1, 2]), (0, *self.places))
        for vertical in (above, below):
            if mask:
                vertical = self.add('Mul', vertical, mask)
            for horizontal in (before, behind):
                share = self.add('Mul', vertical, horizontal)
                shares.append(self.reshape(share, (0, *self.places, 1, 1)))
        first = self.reshape(self._upper_left(top, left), (0, *self.places, 1))
        steps = self.integer([0, 1, self.frame[1], self.frame[1] + 1], 'steps')
        return self.add('Add', first, steps), self.add('Concat', *shares, axis=6)

    def _rows(self, value, first, last):
        """Some rows of a value [N, *places, ...]."""
        return self.add('Slice', value, *(self.integer([number], 'rows') for number in (first, last, 1)))

    def _positions(self):
        """Where the taps are, along y and along x: (the pixel before the tap, that pixel's share, the next
        pixel's share), all float32 [N, *places]."""
        c = self.convolution
        rows, columns, groups, taps = self.places
        # [N, groups * taps * 2, rows, columns] -> [N, rows * columns, groups, taps, 2]
        offset = self.reshape(c.offset, (0, groups, taps, 2, rows * columns))
        offset = self.add('Transpose', offset, perm=[0, 4, 1, 2, 3])
        found = []
        for axis, side in enumerate(self.sides):
            place = self.add('Gather', offset, self.integer(axis, 'axis'), axis=4)
            place = self.reshape(place, (0, *self.places))
            place = self.add('Add', place, self.constant(_undeformed(c, self.places, axis), 'taps'))
            low, high = self.constant(np.float32(-1), 'low'), self.constant(np.float32(side), 'high')
            place = self.add('Clip', place, low, high)
            before = self.add('Floor', place)
            share = self.add('Sub', place, before)
            found.append((before, self.add('Sub', self.constant(np.float32(1), 'one'), share), share))
        return found

    def _upper_left(self, y, x):
        """The table's row of the pixel up and left of each tap, int64 [N, *places]."""
        # whole numbers in float32 are exact up to 2 ** 24; larger ones only arise in int64
        int64 = protobuf.element_type(np.int64)
        y, x = self.add('Cast', y, to=int64), self.add('Cast', x, to=int64)
        groups, (height, width) = self.places[2], self.frame
        row = self.add('Add', self.add('Mul', y, self.integer(width, 'width')), x)
        # behind the frame's first row and column
        start = np.arange(groups).reshape(1, 1, 1, groups, 1) * height * width + width + 1
        image = groups * height * width
        if isinstance(self.batch, int):
            start = start + np.arange(self.batch).reshape(-1, 1, 1, 1, 1) * image
            return self.add('Add', row, self.integer(start, 'start'))
        row = self.add('Add', row, self.integer(start, 'start'))
        count = self.add('Gather', self.add('Shape', y), self.integer(0, 'first'), axis=0)
        images = self.add('Range', self.integer(0, 'zero'), count, self.integer(1, 'one'))
        images = self.add('Mul', images, self.integer(image, 'image'))
        return self.add('Add', row, self.reshape(images, (-1, 1, 1, 1, 1)))

    def _table(self, channels):
        """The image's pixels as rows, [N * groups * frame, channels]."""
        height, width = self.frame
        pads, zero = self.integer([0, 0, 1, 1, 0, 0, 2, 2], 'frame'), self.constant(np.float32(0), 'nothing')
        padded = self.add('Pad', self.convolution.x, pads, zero, mode='constant')
        split = self.reshape(padded, (0, self.places[2], channels, height * width))
        return self.reshape(self.add('Transpose', split, perm=[0, 1, 3, 2]), (-1, channels))

    def reshape(self, value: str, shape: Tuple[int, ...]) -> str:
        """Append a Reshape and return the name of its output."""
        return self.add('Reshape', value, self.integer(shape, 'shape'))


def _undeformed(c, places, axis):
    """Where the taps are without offsets: float32 [1, rows, 1, 1, taps] along y (axis 0), [1, 1, columns, 1,
    taps] along x."""
    number = np.indices(c.kernel)[axis].reshape(-1)
    start = np.arange(places[axis]) * c.stride[axis] - c.padding[axis]
    start = start.reshape((1, -1, 1, 1, 1) if axis == 0 else (1, 1, -1, 1, 1))
    return (start + number * c.dilation[axis]).astype(np.float32)


def _matrix(weight, c):
    """The weight [Cout, C / groups, kh, kw] as a matrix [deformable groups * taps * channels of one,
    Cout]."""
    outputs, inputs = weight.shape[:2]
    dense = np.zeros(
        (c.groups, outputs // c.groups, c.groups, inputs, c.kernel[0] * c.kernel[1]), weight.dtype
    )
    for group, part in enumerate(np.split(weight, c.groups)):
        dense[group, :, group] = part.reshape(outputs // c.groups, inputs, -1)
    dense = dense.reshape(outputs, c.deformable_groups, -1, dense.shape[-1])  # [Cout, groups, channels, taps]
    return np.ascontiguousarray(dense.transpose(1, 3, 2, 0).reshape(-1, outputs))
