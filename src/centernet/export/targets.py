"""What a clean graph becomes for each reader."""

from collections import OrderedDict
from typing import NamedTuple, Tuple

from ..errors import ModelError, OptionError
from . import dialects, passes, rules
from .decode import append_decode
from .lowering import lower
from .opsets import lower_opset, raise_opset
from .shapes import infer_shapes

Target = NamedTuple(
    'Target',
    [
        ('name', str),
        ('reader', str),
        ('spelling', str),  # of the deformable convolution: see dialects; '' for standard operators alone
        ('opset', int),
        ('outputs', Tuple[str, ...]),
        ('batches', bool),  # reads other batches than 1
        ('open_batch', bool),  # reads files whose batch is open
        ('decodes', bool),  # runs what --with-decode appends
    ],
)

_HEADS = ('hm', 'wh', 'reg')
#: name -> Target. ATC's documents name opset 11 in every release, and onnx 1.8.1 can check it; torch 1.0.0's
#: 9 is what TensorRT-CenterNet's parser was written for.
TARGETS = OrderedDict(
    (target.name, target)
    for target in (
        Target('ascend', 'ATC, for Ascend processors', 'ascend', 11, _HEADS, True, False, False),
        Target(
            'tensorrt', "TensorRT-CenterNet's parser", 'tensorrt', 9, ('hm', 'reg', 'wh'), False, False, False
        ),
        Target(
            'onnx',
            'onnxruntime >= 1.26, TensorRT >= 10.1',
            'onnx',
            dialects.ONNX_OPSET,
            _HEADS,
            True,
            True,
            True,
        ),
        Target('portable', 'onnxruntime >= 1.7', '', 11, _HEADS, True, True, True),
    )
)
#: what an open batch is called in a file
OPEN_BATCH = 'batch'


def check_options(target, batch, with_decode):
    """Raise OptionError where a target cannot have these.

    Args:
        target: a :class:`Target`.
        batch: a number of images, or None for an open batch.
    """
    if batch is None and not target.open_batch:
        raise OptionError(
            f'{target.reader} reads files of a fixed batch: give --batch in place of --dynamic-batch for the'
            f' target {target.name}'
        )
    if batch is not None and batch < 1:
        raise OptionError(f'a batch has at least one image, not {batch}')
    if batch not in (None, 1) and not target.batches:
        raise OptionError(f'{target.reader} reads files of batch 1 only, not {batch}')
    if with_decode and not target.decodes:
        raise OptionError(
            '--with-decode is for the targets {}; for {} the boxes are decoded by the program that runs it'.format(
                ' and '.join(other.name for other in TARGETS.values() if other.decodes), target.name
            )
        )


def build(graph, target, batch=1, decode=None, down_ratio=4):
    """A target's graph.

    Args:
        graph: a clean one with the outputs hm, wh and reg, deformable convolutions in any spelling; it is not
            changed, and the new graph shares its arrays.
        target: a :class:`Target`.
        batch: number of images, None for an open batch.
        decode: append the decoder for this many boxes; None leaves the heads as they are.
        down_ratio: pixels of the input per output cell.

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
    dialects.rewrite(graph, target.spelling or 'onnx', raise_it=False)
    raise_opset(graph, target.opset)
    passes.clean(graph)
    if graph.opset > target.opset:
        lower_opset(graph, target.opset)
    shapes = infer_shapes(graph)
    graph.outputs = [value._replace(shape=shapes.get(value.name)) for value in graph.outputs]
    if not target.spelling:
        lower(graph)
    if decode is not None:
        append_decode(graph, decode, down_ratio)
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
