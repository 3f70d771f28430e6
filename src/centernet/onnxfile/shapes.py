"""What is known of a graph's values before it runs: their shapes, and which of them are constant.

Shapes are those of onnx's own inference. It stops at operators that it does not know, so it is given ordinary
convolutions in place of deformable ones; and in onnx 1.8.1 at Split of opset 9, so older graphs are raised to
opset 11 for it.
"""

import contextlib
from typing import Dict, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from onnx import shape_inference

from ..system.errors import ModelError
from . import deform_conv, protobuf
from .constants import FOLDABLE, compute
from .graph import Graph, Node, Value
from .opsets import KNOWN, raise_opset

#: sizes: int, str (the name of an open size) or None (unknown)
Shape = Tuple[Union[int, str, None], ...]

# Weights of more elements than this are irrelevant to shapes.
_SMALL = 1024
#: bytes of constants that one graph may compute, at 8 bytes for an element; a small file can ask for any size
_MOST_BYTES = 1 << 29
#: numpy before 2 has no more, and onnxruntime 1.7 ends the process at more
_MOST_DIMENSIONS = 32
#: each round of inference finds the constants that depend on the shapes which the round before it found
_MOST_ROUNDS = 32


class Facts(NamedTuple):
    """``shapes``: value name -> shape, of values whose rank is known. ``constants``: value name -> array."""

    shapes: Dict[str, Shape]
    constants: Dict[str, np.ndarray]


def examine(graph: Graph) -> Facts:
    """The :class:`Facts` of a graph whose nodes are in order. Initializers are among the constants. Nothing
    is known of the outputs of damaged nodes.

    Raises:
        ModelError: the graph computes constants that are far larger than itself, or has impossible windows.
    """
    constants = dict(graph.initializers)
    for node in graph.find('Constant'):
        if isinstance(node.attributes.get('value'), np.ndarray):
            constants[node.outputs[0]] = node.attributes['value']
    for _ in range(_MOST_ROUNDS):
        shapes = _inferred(graph, constants)
        found = _folded(graph, shapes, constants)
        if not found:
            break
        constants.update(found)
    return Facts(shapes, constants)


def plain(graph: Graph, known: Sequence[str] = ()) -> Graph:
    """A copy of the structure of a graph, of operators that onnx knows: deformable convolutions, but for
    those called ``known``, become convolutions whose output has the same shape. Large weights become
    inputs."""
    copy = graph.copy()
    for place, node in enumerate(graph.nodes):
        if not deform_conv.spelling_of(node) or node.op_type in known:
            continue
        with contextlib.suppress(ModelError):  # a damaged one stays
            c = deform_conv.read(graph, node)
            values = (list(c.stride), list(c.padding * 2), list(c.dilation), c.groups)
            attributes = zip(('strides', 'pads', 'dilations', 'group'), values)
            inputs = [name for name in (c.x, c.weight, c.bias) if name]
            copy.nodes[place] = Node('Conv', inputs, [c.output], list(attributes), node.name)
    for name, array in graph.initializers.items():
        if array.size > _SMALL:
            del copy.initializers[name]
            copy.inputs.append(Value(name, array.dtype, array.shape))
    return copy


def _inferred(graph: Graph, constants) -> Dict[str, Shape]:
    copy = graph.copy()
    # damaged operators with graphs inside, such as Scan, end the process in onnx 1.8.1
    copy.nodes = [
        node
        for node in copy.nodes
        if node.op_type in KNOWN and not node.domain and not constants.keys() >= set(node.outputs)
    ]
    copy.initializers.update(constants)
    copy = plain(copy)
    copy.outputs = []
    with contextlib.suppress(ModelError):
        raise_opset(copy, 11)
    _check_windows(copy)
    model = copy.to_model()
    with contextlib.suppress(Exception):  # of various classes, from C++
        model = shape_inference.infer_shapes(model)
    open_sizes = {size for value in graph.inputs for size in value.shape or ()}
    shapes = {}
    for value in (*graph.inputs, *map(protobuf.value_of, model.graph.value_info)):
        if value.shape is not None:  # newer releases of onnx number the sizes that they do not know
            shapes[value.name] = tuple(
                size if size in open_sizes or (isinstance(size, int) and size >= 0) else None
                for size in value.shape
            )
    shapes.update((name, array.shape) for name, array in constants.items())
    return shapes


def _check_windows(graph):
    """Raise ModelError for windows that no network has: old releases of onnx and onnxruntime divide by 0."""
    for node in graph.find('Conv', 'ConvTranspose', 'MaxPool', 'AveragePool'):
        for key, least in (('pads', 0), ('strides', 1), ('dilations', 1), ('kernel_shape', 1)):
            values = node.attributes.get(key, [least])
            if not isinstance(values, list) or min(values, default=least) < least:
                raise ModelError(f'{node.op_type} {node.name!r} has {key} {values}')


def _folded(graph: Graph, shapes, constants) -> Dict[str, np.ndarray]:
    """Further constants, by name."""
    found, nodes = {}, []
    fixed, computed, size = set(constants), set(constants), 0
    for node in graph.nodes:
        sizes = [_elements(shapes.get(name)) for name in node.outputs]
        if node.op_type == 'Shape' and not node.domain and not node.attributes:
            if node.outputs[0] not in constants and _elements(shapes.get(node.input(0))) is not None:
                found[node.outputs[0]] = np.array(shapes[node.inputs[0]], np.int64)
            continue
        if not node.inputs or not fixed.issuperset(filter(None, node.inputs)):
            continue
        # no image is needed for it, so a runtime computes it at once, whether or not it is known here
        fixed.update(node.outputs)
        size += 8 * sum(filter(None, sizes))
        if size > _MOST_BYTES:
            raise ModelError(f'its constants make more than {_MOST_BYTES >> 20} MiB of others')
        if (
            node.op_type in FOLDABLE
            and not node.domain
            and None not in sizes
            and all(len(shapes[name]) <= _MOST_DIMENSIONS for name in node.outputs)
            and computed.issuperset(filter(None, node.inputs))
            # a division of integers by 0 ends the process
            and (node.op_type != 'Div' or np.all(constants.get(node.inputs[1], 0) > 0))
        ):
            computed.update(node.outputs)
            if not constants.keys() >= set(node.outputs):
                nodes.append(node)
    results = [name for node in nodes for name in node.outputs if name]
    arrays = compute(nodes, constants, results, graph.opset) if nodes else None
    found.update(zip(results, arrays or ()))
    return found


def _elements(shape: Optional[Shape]) -> Optional[float]:
    """How many elements a value has, None if that is not known."""
    if shape is None or not all(isinstance(size, int) for size in shape):
        return None
    return np.prod(shape, dtype=np.float64)  # a file may name sizes that overflow integers
