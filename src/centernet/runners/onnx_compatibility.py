"""What onnxruntime is given to run a file: the file itself, or a model in memory that means the same.

Files for ATC and for TensorRT-CenterNet have an operator that no onnxruntime knows. It is translated to
ONNX's DeformConv (:mod:`.custom_operators`); an onnxruntime older than 1.26 gets standard operators instead
of DeformConv (:mod:`centernet.onnxfile.decompose`).
"""

from typing import List, NamedTuple, Optional, Union

import onnx
import onnxruntime
from onnx import TensorProto, helper

from ..detection import DECODED, HEADS
from ..errors import ModelError
from ..onnxfile.decompose import decompose
from ..onnxfile.graph import of_model
from ..onnxfile.shapes import examine
from . import custom_operators

#: onnxruntime's version as a tuple of two integers
RUNTIME_VERSION = tuple(int(part) for part in onnxruntime.__version__.split('.')[:2])
#: the first onnxruntime whose DeformConv gives right values (the operator came with 1.25)
HAS_DEFORM_CONV = RUNTIME_VERSION >= (1, 26)
# onnxruntime's release -> the newest opset that it runs; from 1.17 on, newer ones than are written here.
_OPSETS = (
    ((1, 0), 11),
    ((1, 3), 12),
    ((1, 7), 13),
    ((1, 8), 14),
    ((1, 9), 15),
    ((1, 11), 16),
    ((1, 12), 17),
    ((1, 14), 18),
    ((1, 15), 19),
    ((1, 17), 99),
)


class Runnable(NamedTuple):
    """``model``: a path, or a model in memory. ``decodes``: whether it returns boxes. ``translated``: the
    operator that was replaced, or None; ``decomposed``: whether by standard operators."""

    model: Union[str, onnx.ModelProto]
    decodes: bool
    translated: Optional[str]
    decomposed: bool


def make_runnable(proto: onnx.ModelProto, path: Optional[str], files: List[str]) -> Runnable:
    """Prepare a model for this onnxruntime.

    Args:
        proto: the model, which is not changed.
        path: the file that it was read from, if any.
        files: the files beside it that were read as well. onnxruntime must not open these itself, so it gets
            ``proto``.

    Raises:
        ModelError: the model cannot be translated, or computes huge constants, which onnxruntime would do as
            soon as it is started.
    """
    graph = of_model(proto)
    graph.nodes = graph.sorted_nodes()
    examine(graph, lenient=True)
    _check_windows(graph)
    decodes = _has_decoder(proto)
    counts = custom_operators.operators(proto)
    custom = sorted(set(counts) & set(custom_operators.CUSTOM_OPERATORS))
    translate = custom or (counts and not HAS_DEFORM_CONV)
    # such a file is often made of operators that are older than its opset
    too_new = custom_operators.opset(proto) > _newest_opset()
    if not (translate or decodes or too_new):
        return Runnable(path if path and not files else proto, decodes, None, False)
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    if decodes:
        changed.graph.output.extend(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in _heads_inside(proto)
        )
    if not (translate or too_new):
        return Runnable(changed, decodes, None, False)
    custom_operators.to_standard(changed)
    changed = custom_operators.raise_opset(changed) if HAS_DEFORM_CONV else _decomposed(changed)
    if not counts:
        return Runnable(changed, decodes, None, False)
    operator = custom[0] if custom else custom_operators.STANDARD_OPERATOR
    return Runnable(changed, decodes, operator, not HAS_DEFORM_CONV)


def _check_windows(graph):
    """Raise ModelError for windows that no network has, and at which old releases of onnxruntime crash."""
    for node in graph.find('Conv', 'ConvTranspose', 'MaxPool', 'AveragePool'):
        for key, least in (('pads', 0), ('strides', 1), ('dilations', 1), ('kernel_shape', 1)):
            values = node.attributes.get(key, [least])
            if not isinstance(values, list) or min(values, default=least) < least:
                raise ModelError(f'{node.op_type} {node.name!r} has {key} {values}')


def _has_decoder(model):
    """Whether a model returns boxes, and has the heads inside that they are made of."""
    outputs = {value.name for value in model.graph.output}
    return set(DECODED) <= outputs and not outputs & set(HEADS) and {'hm', 'wh'} <= set(_heads_inside(model))


def _heads_inside(model):
    """Those of hm, wh and reg that a node computes."""
    inside = {name for node in model.graph.node for name in node.output}
    return [name for name in HEADS if name in inside]


def _decomposed(model):
    """The model in standard operators of opset 11, for an onnxruntime without DeformConv."""
    plain = of_model(model)
    decompose(plain)
    # What networks are made of is mostly the same in newer opsets; onnxruntime rejects the rest.
    plain.opset = min(plain.opset, _newest_opset())
    return plain.to_model()


def _newest_opset():
    """The newest opset that this onnxruntime runs, or a newer one than any file here has."""
    return max(opset for release, opset in _OPSETS if RUNTIME_VERSION >= release)
