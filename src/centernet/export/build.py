"""Build a target's graph from a clean one: :func:`build`."""

from typing import Optional

from ..detection import DOWN_RATIO
from ..errors import ModelError
from ..onnxfile import deform_conv
from ..onnxfile.decompose import decompose
from ..onnxfile.graph import Graph
from ..onnxfile.opsets import lower_opset, raise_opset
from ..onnxfile.shapes import infer_shapes
from . import passes, rules
from .append_decoder import append_decode
from .targets import Target, check_options, order_outputs

#: the name of an open batch in a file
OPEN_BATCH = 'batch'


def build(graph: Graph, target: Target, batch: Optional[int] = 1, decode: Optional[int] = None) -> Graph:
    """Return a target's graph, without metadata.

    Args:
        graph: a clean graph whose outputs are named after the heads, with deformable convolutions in any
            spelling. It is not changed; the new graph shares its arrays.
        target: what to build for.
        batch: number of images, None for an open batch.
        decode: append the decoder for this many boxes; None keeps the heads.

    Raises:
        OptionError: the target does not support that batch, or the decoder.
        ModelError: the target cannot express the graph.
    """
    check_options(target, batch, decode is not None)
    graph = graph.copy()
    graph.metadata.clear()
    image = graph.inputs[0]
    graph.inputs[0] = image._replace(shape=(OPEN_BATCH if batch is None else batch,) + tuple(image.shape[1:]))
    outputs = {value.name: value for value in graph.outputs}
    graph.outputs = [outputs[name] for name in order_outputs(target, outputs)]
    deform_conv.rewrite(graph, target.spelling or 'onnx', raise_it=False)
    raise_opset(graph, target.opset)
    passes.clean(graph)
    if graph.opset > target.opset:
        lower_opset(graph, target.opset)
        graph.remove_dead()
    shapes = infer_shapes(graph)
    # a decomposed convolution stops the inference; the file's own shapes remain
    graph.outputs = [value._replace(shape=shapes.get(value.name, value.shape)) for value in graph.outputs]
    if not target.spelling:
        decompose(graph)
    if decode is not None:
        append_decode(graph, decode, DOWN_RATIO)
    broken = rules.check_graph(graph, target.name).violations
    if broken:
        raise ModelError(
            '{} would reject this graph: {}{}{}'.format(
                target.reader,
                broken[0].node + ': ' if broken[0].node else '',
                broken[0].message,
                f' (and {len(broken) - 1} more)' if len(broken) > 1 else '',
            )
        )
    return graph
