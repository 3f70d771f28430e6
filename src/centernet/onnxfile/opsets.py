"""Convert a graph from the opset that it was traced in to another one.

Why not ``onnx.version_converter``:

- onnx 1.8.1's converter, the only one for Python 3.6, ends at opset 13 (a later one crashes the process) and
  lacks adapters for Upsample, Resize, Pad and Split. It fails on operators that it does not know, in the
  default domain or in another.
- Both stacks are to write the same graph. Newer converters add Constant nodes of their own.
- Newer converters reject custom operators in the default domain, too. They have to be moved to another domain
  meanwhile.

So the few changes that convolutional networks need are made here. A graph with any other operator is
rejected.
"""

from typing import FrozenSet

import numpy as np

from ..system.errors import ModelError
from .graph import Graph


def op_types(names: str) -> FrozenSet[str]:
    """A set of operators, written as words."""
    return frozenset(names.split())


# Same inputs, attributes and meaning at inference from opset 7 to 22, as far as these networks use them.
_STABLE = op_types(
    'Abs Add And AveragePool BatchNormalization Cast Ceil Concat Constant ConstantOfShape Conv ConvTranspose'
    ' CumSum DCNv2 DeformConv DeformableConv2D Div Dropout Elu Equal Erf Exp Expand Flatten Floor Gather'
    ' GatherElements GatherND Gemm GlobalAveragePool GlobalMaxPool Greater HardSigmoid Identity'
    ' InstanceNormalization LeakyRelu Less Log MatMul Max MaxPool Min Mod Mul Neg Not Or PRelu Pow Range'
    ' Reciprocal Relu Reshape ScatterND Shape Sigmoid Sign Size Softplus Sqrt Sub Sum Tanh Tile Transpose'
    ' Where'
)


def raise_opset(graph: Graph, opset: int) -> None:
    """Rewrite a graph for a later opset of the default domain, in place. One that is as late stays as it is.

    Raises:
        ModelError: an operator is not supported here, or its old meaning has no equivalent.
    """
    if graph.opset >= opset:
        return
    unknown = sorted({node.op_type for node in graph.nodes if not node.domain} - KNOWN)
    if unknown:
        names = ', '.join(unknown)
        raise ModelError(f'the graph cannot be converted from opset {graph.opset} to {opset}: it has {names}')
    for node in graph.nodes:
        for op_types, since, change in _CHANGES:
            if not node.domain and node.op_type in op_types and graph.opset < since <= opset:
                change(graph, node)
    graph.opset = opset


def lower_opset(graph: Graph, opset: int) -> None:
    """Rewrite a graph for an earlier opset, in place: inputs that were attributes there, and are constant,
    become attributes again.

    Raises:
        ModelError: an operator is not supported here, or cannot be written in the earlier opset.
    """
    stuck = set()
    for node in graph.nodes:
        if node.domain or node.op_type in _STABLE:
            continue
        undone = [
            isinstance(change, _AttributesToInputs) and change.undo(graph, node)
            for op_types, since, change in reversed(_CHANGES)
            if node.op_type in op_types and opset < since <= graph.opset
        ]
        if node.op_type not in KNOWN or not all(undone):
            stuck.add(node.op_type)
    if stuck:
        raise ModelError(
            f'cannot convert from opset {graph.opset} to {opset}, because of {", ".join(sorted(stuck))}'
        )
    graph.opset = opset


class _AttributesToInputs:
    """A change: these attributes (name, dtype) become inputs, in this order, after the first."""

    def __init__(self, *keys):
        self._keys = keys

    def __call__(self, graph, node):
        for key, dtype in self._keys:
            node.inputs.append('')
            if key in node.attributes:
                value = np.array(node.attributes.pop(key), dtype)
                node.inputs[-1] = graph.constant(f'{node.outputs[0]}.{key}', value)
        while not node.inputs[-1]:
            node.inputs.pop()

    def undo(self, graph, node):
        """Turn the inputs into attributes; return whether all of them are constant."""
        if 'num_outputs' in node.attributes:  # of Split, since opset 18: parts that may be unequal
            return False
        values = node.inputs[1:]
        if not all(name in graph.initializers or not name for name in values):
            return False
        for (key, _), name in zip(self._keys, values):
            if name:
                node.attributes[key] = graph.initializers[name].tolist()
        del node.inputs[1:]
        return True


def _upsample(graph, node):
    """Before opset 9 the scales are an attribute, from there on an input."""
    _AttributesToInputs(('scales', np.float32))(graph, node)
    node.op_type = 'Resize'


def _resize(graph, node):
    """Before opset 11, output cell i is read at i / scale, rounded down if the mode is nearest."""
    node.attributes.setdefault('mode', 'nearest')
    node.attributes['coordinate_transformation_mode'] = 'asymmetric'
    if node.attributes['mode'] == 'nearest':
        node.attributes['nearest_mode'] = 'floor'
    # until opset 13 the region, which this mode does not use, cannot be omitted
    node.inputs.insert(1, graph.constant(node.outputs[0] + '.roi', np.zeros(0, np.float32)))


def _softmax(graph, node):
    if node.attributes.get('axis', 1) != -1:
        raise ModelError(f'{node.op_type} {node.label!r} flattens its input, as none does after opset 12')


#: operators, the opset that changed them, and how a node follows; by opset, as a node may need several
_CHANGES = (
    (('Upsample',), 10, _upsample),
    (('Slice',), 10, _AttributesToInputs(('starts', np.int64), ('ends', np.int64), ('axes', np.int64))),
    (('TopK',), 10, _AttributesToInputs(('k', np.int64))),
    (('Resize',), 11, _resize),
    (('Pad',), 11, _AttributesToInputs(('pads', np.int64), ('value', np.float32))),
    (('Clip',), 11, _AttributesToInputs(('min', np.float32), ('max', np.float32))),
    (('Split',), 13, _AttributesToInputs(('split', np.int64))),
    (('Squeeze', 'Unsqueeze', 'ReduceSum'), 13, _AttributesToInputs(('axes', np.int64))),
    (('Softmax', 'LogSoftmax'), 13, _softmax),
    (('ReduceMean', 'ReduceMax', 'ReduceMin', 'ReduceProd'), 18, _AttributesToInputs(('axes', np.int64))),
)
#: the operators that networks are made of; the others cannot be converted
KNOWN = _STABLE.union(*(op_types for op_types, _, _ in _CHANGES))
