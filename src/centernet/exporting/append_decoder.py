"""The decoder of the heads as part of the graph, for ``--with-decode``."""

from typing import Mapping, Optional, Tuple

import numpy as np

from ..detection import DOWN_RATIO, HEADS
from ..detection.heads import SIDES, SIZE_PER_CLASS, size_layout, why_no_boxes
from ..onnxfile import protobuf
from ..onnxfile.builder import Builder
from ..onnxfile.graph import Graph, Value
from ..onnxfile.opsets import raise_opset

#: the first opset that has what is used here (TopK on inputs, GatherElements, Equal of floats)
OPSET = 11


def append_decode(graph: Graph, k: int = 100) -> None:
    """Make a graph return boxes instead of heads, in place.

    The outputs become ``boxes`` float32 [N, k, 4] (x1, y1, x2, y2 in pixels of the network's input),
    ``scores`` float32 [N, k], falling, and ``classes`` int64 [N, k]. This is
    :func:`centernet.detection.decode`, in pixels of the input: the k best of all classes together; equal
    scores are ordered by class, then by position.

    Args:
        graph: has the outputs hm, wh (in any layout) and perhaps reg, and no others (:func:`why_no_decoder`),
            whose shapes are known except for the batch.
        k: number of boxes; at most the number of cells of all classes together.
    """
    heads = {value.name: value for value in graph.outputs}
    layout = size_layout(heads['hm'].shape[1], heads['wh'].shape[1], heads)
    raise_opset(graph, OPSET)
    batch, classes, rows, columns = heads['hm'].shape
    cells, k = rows * columns, min(k, classes * rows * columns)
    build = Builder(graph, 'decode/')

    heat = build.add('Sigmoid', 'hm')
    highest = build.add('MaxPool', heat, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
    peak = build.add('Cast', build.add('Equal', heat, highest), to=protobuf.element_type(np.float32))
    flat = build.reshape(build.add('Mul', heat, peak), (0, classes * cells))
    scores, index = build.add('TopK', flat, build.integer([k]), outputs=2, axis=1)

    cells_of = build.integer(cells)
    kind = build.add('Div', index, cells_of)
    cell = build.add('Sub', index, build.add('Mul', kind, cells_of))
    width_of = build.integer(columns)
    y = build.add('Div', cell, width_of)
    x = build.add('Sub', cell, build.add('Mul', y, width_of))

    x, y, cell = (build.reshape(value, (0, 1, k)) for value in (x, y, cell))
    place = build.add('Cast', build.add('Concat', x, y, axis=1), to=protobuf.element_type(np.float32))
    if 'reg' in heads:
        both = build.add('Concat', cell, cell, axis=1)
        offset = build.add('GatherElements', build.reshape('reg', (0, 2, cells)), both, axis=2)
    else:
        offset = build.constant(np.float32(0.5))
    centre = build.add('Add', place, offset)
    before, behind = _extents(build, heads['wh'], layout, cell, build.reshape(kind, (0, 1, k)))
    corners = build.add('Concat', build.add('Sub', centre, before), build.add('Add', centre, behind), axis=1)
    corners = build.add('Transpose', corners, perm=[0, 2, 1])
    boxes = build.add('Mul', corners, build.constant(np.float32(DOWN_RATIO)))

    graph.nodes += build.nodes
    graph.outputs = [
        Value('boxes', np.dtype(np.float32), (batch, k, 4)),
        Value('scores', np.dtype(np.float32), (batch, k)),
        Value('classes', np.dtype(np.int64), (batch, k)),
    ]
    for value, name in zip(graph.outputs, (boxes, scores, kind)):
        graph.rename_value(name, value.name)


def why_no_decoder(heads: Mapping[str, int]) -> Optional[str]:
    """Why these heads (name -> channels) cannot have the decoder, or None if they can."""
    further = [name for name in heads if name not in HEADS]
    if further:
        return f'the decoder gives boxes only, and the file would lose the heads {", ".join(further)}'
    return why_no_boxes(heads)


def _extents(build: Builder, wh: Value, layout: str, cell: str, kind: str) -> Tuple[str, str]:
    """The distances of the centres from the upper left and from the lower right corners, each [N, 2, k].

    Args:
        build: the graph.
        wh: the output.
        layout: of it (:func:`centernet.detection.heads.size_layout`).
        cell, kind: cells and classes of the boxes, int64 [N, 1, k].
    """
    _, channels, rows, columns = wh.shape
    cells = rows * columns
    if layout == SIZE_PER_CLASS:
        # class c has the planes 2 c and 2 c + 1, which are one row of 2 * cells values
        first = build.add('Add', build.add('Mul', kind, build.integer(2 * cells)), cell)
        second = build.add('Add', first, build.integer(cells))
        index = build.add('Concat', first, second, axis=2)
        found = build.add('GatherElements', build.reshape('wh', (0, 1, channels * cells)), index, axis=2)
        size = build.reshape(found, (0, 2, -1))
    else:
        index = build.add('Concat', *[cell] * channels, axis=1)
        size = build.add('GatherElements', build.reshape('wh', (0, channels, cells)), index, axis=2)
    if layout == SIDES:
        return tuple(build.add('Gather', size, build.integer(sides), axis=1) for sides in ([0, 1], [2, 3]))
    half = build.add('Mul', size, build.constant(np.float32(0.5)))
    return half, half
