"""What onnxruntime is given to run a file: the file itself, or a model in memory that means the same.

Files for ATC and for TensorRT-CenterNet have an operator that no onnxruntime knows. It is translated to
ONNX's DeformConv (:mod:`.custom_operators`); an onnxruntime older than 1.26 gets standard operators instead
of DeformConv (:mod:`centernet.onnxfile.decompose`).
"""

from typing import List, NamedTuple, Optional, Union

import onnx
import onnxruntime
from onnx import TensorProto, helper

from ...detection import DECODED, HEADS
from ...onnxfile.decompose import decompose
from ...onnxfile.graph import Graph
from ...onnxfile.opsets import raise_opset
from ...onnxfile.shapes import examine
from ...system.errors import ModelError
from .custom_operators import CUSTOM_OPERATORS, STANDARD_OPERATOR, STANDARD_OPSET, to_standard

#: onnxruntime's version as a tuple of two integers
RUNTIME_VERSION = tuple(int(part) for part in onnxruntime.__version__.split('.')[:2])
#: the first onnxruntime whose DeformConv gives right values (the operator came with 1.25)
HAS_DEFORM_CONV = RUNTIME_VERSION >= (1, 26)
#: the newest opset that onnxruntime runs: that of 1.7 for those before 1.17, which runs all that is in use
_NEWEST_OPSET = 99 if RUNTIME_VERSION >= (1, 17) else 13


class Runnable(NamedTuple):
    """``model``: a path, or a model in memory. ``decodes``: whether it returns boxes. ``translated``: the
    operator that was replaced, or None."""

    model: Union[str, onnx.ModelProto]
    decodes: bool
    translated: Optional[str]


def make_runnable(proto: onnx.ModelProto, graph: Graph, path: Optional[str], files: List[str]) -> Runnable:
    """Prepare a model for this onnxruntime.

    Args:
        proto: the model, which is not changed.
        graph: the same, which may be changed.
        path: the file that it was read from, if any.
        files: the files beside it that were read as well. onnxruntime must not open these itself, so it gets
            ``proto``.

    Raises:
        ModelError: the model cannot be translated, or computes huge constants, which onnxruntime would do as
            soon as it is started.
    """
    if not {entry.domain for entry in proto.opset_import} & {'', 'ai.onnx'}:
        raise ModelError("the model names no opset of ONNX's own operators")
    graph.nodes = graph.sorted_nodes()
    constants = examine(graph).constants
    computed = {name for node in graph.nodes for name in node.outputs}
    heads = [name for name in HEADS if name in computed]
    outputs = set(graph.output_names())
    decodes = set(DECODED) <= outputs and not outputs & set(HEADS) and {'hm', 'wh'} <= set(heads)
    operators = {node.op_type for node in graph.nodes}
    translated = next((name for name in CUSTOM_OPERATORS if name in operators), None)
    if not translated and not HAS_DEFORM_CONV and STANDARD_OPERATOR in operators:
        translated = STANDARD_OPERATOR
    # a file with such an operator is often made of operators that are older than its opset
    if translated or graph.opset > _NEWEST_OPSET:
        to_standard(graph, constants)
        if HAS_DEFORM_CONV:
            raise_opset(graph, STANDARD_OPSET)
        else:
            decompose(graph)
            # What networks are made of is mostly the same in newer opsets; onnxruntime rejects the rest.
            graph.opset = min(graph.opset, _NEWEST_OPSET)
        model = graph.to_model()
    elif decodes:
        model = onnx.ModelProto()
        model.CopyFrom(proto)
    else:
        return Runnable(path if path and not files else proto, False, None)
    if decodes:
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in heads]
        model.graph.output.extend(values)
    return Runnable(model, decodes, translated)
