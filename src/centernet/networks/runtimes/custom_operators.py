"""Translate the deformable convolutions of ATC and of TensorRT-CenterNet to ONNX's own, so that their files
run on a PC.

This module is written from the operators' descriptions and shares no code with the exporter: a file whose
channels are in the wrong order gives wrong values here, as it would on its device. That holds as far as
DeformConv. On onnxruntime < 1.26, which cannot run DeformConv, the nodes made here (and those of ``onnx``
files) are replaced by :mod:`centernet.onnxfile.decompose`, the code that also writes ``portable`` files.
There these prove it: verification compares with PyTorch, whose operator shares no code with it; tests compare
it with the reference operator (:mod:`centernet.kernels.reference`); and both stacks export equal graphs
(tests/parity), which the modern one runs with onnxruntime's own DeformConv.

``DeformableConv2D``
    Inputs x, weight, offsets, bias. ``offsets`` has dx of all taps, then dy of all taps, then the mask (after
    its sigmoid). Attributes strides, pads, dilations, groups, deformable_groups.
``DCNv2``
    Inputs x, offset, mask, weight, bias. ``offset`` has dy, dx tap by tap. Attributes stride, padding,
    dilation, groups, deformable_group.
``DeformConv``
    What both become, from ONNX's opset 19. Inputs X, W, offset, B, mask. ``offset`` has dy, dx tap by tap.
"""

from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from ...onnxfile.graph import Graph, Node
from ...system.errors import ModelError

#: the operators that only their own runtimes know
CUSTOM_OPERATORS = ('DCNv2', 'DeformableConv2D')
#: the standard operator, and the first opset that has it
STANDARD_OPERATOR, STANDARD_OPSET = 'DeformConv', 19


def to_standard(graph: Graph, constants: Mapping[str, np.ndarray]) -> None:
    """Replace every custom deformable convolution by DeformConv, with nodes that bring its channels into
    order, in place. The opset stays as it is.

    Args:
        graph: of any opset.
        constants: the arrays in it, by name.

    Raises:
        ModelError: a node's inputs or attributes are not those of its operator, or its weight is not stored
            in the file.
    """
    for index, node in enumerate(list(graph.nodes)):
        if node.op_type in CUSTOM_OPERATORS:
            node.name = node.name or f'{node.op_type}_{index}'
            ascend = node.op_type == 'DeformableConv2D'
            graph.substitute(node, _from_ascend(graph, node, constants) if ascend else [_from_tensorrt(node)])


def _from_ascend(graph: Graph, node: Node, constants: Mapping[str, np.ndarray]) -> List[Node]:
    x, weight, offsets, bias = _inputs(node, ('x', 'weight', 'offsets', 'bias'), optional=1)
    attributes = _attributes(node, ('strides', 'pads', 'dilations', 'groups', 'deformable_groups'))
    if np.ndim(constants.get(weight)) != 4:
        raise ModelError(f'{node.name}: its weight {weight} is not a stored tensor of four dimensions')
    total = int(np.prod(constants[weight].shape[2:])) * attributes['offset_group']
    # Channel c of the interleaved order is dy (even c) or dx (odd c) of tap c // 2.
    order = np.array([channel for tap in range(total) for channel in (total + tap, tap)], np.int64)
    order = graph.constant(f'{node.name}/order', order)
    last = graph.constant(f'{node.name}/last', np.arange(2 * total, 3 * total))
    offset, mask = graph.fresh(f'{node.name}/offset'), graph.fresh(f'{node.name}/mask')
    return [
        Node('Gather', [offsets, order], [offset], {'axis': 1}),
        Node('Gather', [offsets, last], [mask], {'axis': 1}),
        Node(STANDARD_OPERATOR, [x, weight, offset, bias, mask], node.outputs, attributes, node.name),
    ]


def _from_tensorrt(node: Node) -> Node:
    x, offset, mask, weight, bias = _inputs(node, ('x', 'offset', 'mask', 'weight', 'bias'))
    attributes = _attributes(node, ('stride', 'padding', 'dilation', 'groups', 'deformable_group'))
    return Node(STANDARD_OPERATOR, [x, weight, offset, bias, mask], node.outputs, attributes, node.name)


def _inputs(node: Node, names: Sequence[str], optional: int = 0) -> List[str]:
    """A node's inputs, '' for an optional one that is omitted."""
    least = len(names) - optional
    if not least <= len(node.inputs) <= len(names) or not all(node.inputs[:least]):
        raise ModelError(
            f'{node.name} ({node.op_type}) has {len(node.inputs)} inputs; it takes {", ".join(names)}'
        )
    return node.inputs + [''] * (len(names) - len(node.inputs))


def _attributes(node: Node, names: Sequence[str]) -> Dict[str, Any]:
    """The attributes of DeformConv, from those that the node calls ``names``. A pair may be one number, for
    both directions, or two numbers twice."""
    found = {}
    standard = ('strides', 'pads', 'dilations', 'group', 'offset_group')
    for name, key, default, count in zip(names, standard, (1, 0, 1, 1, 1), (2, 2, 2, 1, 1)):
        value = node.attributes.get(name, default)
        values = value if isinstance(value, list) and count == 2 else [value] * count
        values = values[:2] if values[:2] == values[2:] else values
        if len(values) != count or not all(isinstance(item, int) for item in values):
            raise ModelError(f'{node.name} ({node.op_type}): {name} is {value}; it takes {count} integers')
        found[key] = values if count == 2 else values[0] or 1
    found['pads'] *= 2
    return found
