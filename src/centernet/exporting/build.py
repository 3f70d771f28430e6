"""Build a target's graph from a clean one: :func:`build`."""

from typing import Optional

from ..onnxfile import deform_conv
from ..onnxfile.decompose import decompose
from ..onnxfile.graph import Graph
from ..onnxfile.opsets import lower_opset, raise_opset
from ..onnxfile.shapes import examine
from ..system.errors import ModelError
from . import passes, rules
from .append_decoder import append_decode
from .metadata import NETWORK_KEYS
from .targets import Target

#: the name of an open batch in a file
OPEN_BATCH = 'batch'


def build(graph: Graph, target: Target, batch: Optional[int] = 1, decode: Optional[int] = None) -> Graph:
    """Return a target's graph, with no metadata but those of the network.

    Args:
        graph: a clean graph whose outputs are named after the heads, with deformable convolutions in any
            spelling. It is not changed; the new graph shares its arrays.
        target: what to build for; it supports the other options (:func:`.targets.check_options`).
        batch: number of images, None for an open batch.
        decode: append the decoder for this many boxes; None keeps the heads.

    Raises:
        ModelError: the target cannot express the graph.
    """
    graph = graph.copy()
    for key in set(graph.metadata).difference(NETWORK_KEYS):
        del graph.metadata[key]
    image = graph.inputs[0]
    graph.inputs[0] = image._replace(shape=(OPEN_BATCH if batch is None else batch,) + tuple(image.shape[1:]))
    order = [*target.outputs, *graph.output_names()]
    graph.outputs.sort(key=lambda value: order.index(value.name))
    deform_conv.rewrite(graph, target.spelling or 'onnx')
    raise_opset(graph, target.opset)
    passes.clean(graph)
    if graph.opset > target.opset:
        lower_opset(graph, target.opset)
        graph.remove_dead()
    shapes = examine(graph).shapes
    for place, value in enumerate(graph.outputs):
        if value.name in shapes:  # a decomposed convolution stops the inference: the file's own shapes remain
            shape = graph.inputs[0].shape[:1] + shapes[value.name][1:]
            graph.outputs[place] = value._replace(shape=shape)
    if not target.spelling:
        decompose(graph)
    if decode is not None:
        append_decode(graph, decode)
    broken = rules.check_graph(graph, target.name).violations
    if broken:
        found = '; '.join(': '.join(filter(None, violation[1:])) for violation in broken[:3])
        raise ModelError(f'{target.reader} would reject this graph: {found}')
    return graph
