"""Compute constants with onnxruntime."""

from typing import Dict, List, Optional, Sequence

import numpy as np
import onnx
import onnxruntime

from .graph import Graph, Node
from .opsets import op_types

#: operators that only move elements
MOVING = op_types('Concat Flatten Gather Identity Reshape Slice Split Squeeze Transpose Unsqueeze')
#: those with which exporters compute sizes and reorder channels; none of them is random or has a state
FOLDABLE = MOVING | op_types('Add Cast Ceil ConstantOfShape Div Expand Floor Mul Neg Range Sqrt Sub')
# Every onnxruntime that the package supports runs it. These operators mean the same in later opsets.
_NEWEST_OPSET = 13


def compute(
    nodes: Sequence[Node], arrays: Dict[str, np.ndarray], results: Sequence[str], opset: int
) -> Optional[List[np.ndarray]]:
    """Compute the values ``results`` by nodes in order.

    Args:
        nodes: of :data:`FOLDABLE` operators. The caller makes sure that their outputs fit into the memory.
        arrays: value name -> array, of everything that the nodes do not compute themselves.
        results: names of values.
        opset: that the nodes are of.

    Returns:
        None if a node is damaged, or not supported.
    """
    read = {name for node in nodes for name in node.inputs}
    needed = [(name, array) for name, array in arrays.items() if name in read]
    model = Graph(min(opset, _NEWEST_OPSET), nodes=nodes, initializers=needed).to_model()
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in results)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=['CPUExecutionProvider']
        )
        return session.run(list(results), {})
    except Exception:  # onnxruntime's errors have no common class
        return None
