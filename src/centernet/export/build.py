"""What a clean graph becomes for a target."""

from typing import Optional

from ..detection import DOWN_RATIO
from ..errors import ModelError
from ..onnxfile import deform_conv
from ..onnxfile.decompose import decompose
from ..onnxfile.graph import Graph
from ..onnxfile.opsets import lower_opset, raise_opset
from ..onnxfile.shapes import infer_shapes
from . import passes, rules
from .decode_head import append_decode
from .targets import Target, check_options

#: what an open batch is called in a file
OPEN_BATCH = 'batch'


def build(graph: Graph, target: Target, batch: Optional[int] = 1, decode: Optional[int] = None) -> Graph:
    """A target's graph.

    Args:
        graph: a clean one with the outputs hm, wh and reg, deformable convolutions in any spelling; it is not
            changed, and the new graph shares its arrays.
        target: a :class:`Target`.
        batch: number of images, None for an open batch.
        decode: append the decoder for this many boxes; None leaves the heads as they are.

    Returns:
        Graph, without metadata.

    Raises:
        OptionError: the target cannot have that batch, or no decoder.
        ModelError: something in the graph cannot be said for the target.
    """
    check_options(target, batch, decode is not None)
    graph = graph.copy()
    graph.metadata.clear()
    image = graph.inputs[0]
    graph.inputs[0] = image._replace(shape=(OPEN_BATCH if batch is None else batch,) + tuple(image.shape[1:]))
    outputs = {value.name: value for value in graph.outputs}
    graph.outputs = [outputs[name] for name in target.outputs]
    deform_conv.rewrite(graph, target.spelling or 'onnx', raise_it=False)
    raise_opset(graph, target.opset)
    passes.clean(graph)
    if graph.opset > target.opset:
        lower_opset(graph, target.opset)
    shapes = infer_shapes(graph)
    graph.outputs = [value._replace(shape=shapes.get(value.name)) for value in graph.outputs]
    if not target.spelling:
        decompose(graph)
    if decode is not None:
        append_decode(graph, decode, DOWN_RATIO)
    broken = rules.check_graph(graph, target.name).violations
    if broken:
        raise ModelError(
            '{} would not read this graph: {}{}{}'.format(
                target.reader,
                broken[0].node + ': ' if broken[0].node else '',
                broken[0].message,
                f' (and {len(broken) - 1} more)' if len(broken) > 1 else '',
            )
        )
    return graph
