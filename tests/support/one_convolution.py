"""A graph of one deformable convolution, its input, and what the operator's reference gives for it."""

from typing import NamedTuple, Tuple

import numpy as np
import onnxruntime
import torch

from centernet.kernels import deform_conv2d
from centernet.onnxfile import deform_conv
from centernet.onnxfile.graph import Graph, Node, Value

F32 = np.dtype(np.float32)


class Case(NamedTuple):
    """A convolution of a [batch, channels, height, width] image."""

    batch: int
    channels: int
    height: int
    width: int
    outputs: int
    kernel: Tuple[int, int] = (3, 3)
    stride: Tuple[int, int] = (1, 1)
    padding: Tuple[int, int] = (1, 1)
    dilation: Tuple[int, int] = (1, 1)
    groups: int = 1
    deformable_groups: int = 1
    with_mask: bool = True
    with_bias: bool = True


CENTERNETS = Case(1, 4, 8, 9, 5)
STRANGE = Case(2, 4, 8, 9, 6, (3, 2), (2, 1), (0, 2), (1, 2), groups=2, deformable_groups=2)
BARE = Case(2, 8, 7, 5, 4, (1, 3), dilation=(2, 1), deformable_groups=4, with_mask=False, with_bias=False)


def make(case, open_batch=False):
    """(Graph in ONNX's spelling, feeds, expected array). Offsets reach beyond the image, and some are whole
    numbers."""
    random = np.random.RandomState(0)

    def draw(*shape):
        return random.standard_normal(shape).astype(np.float32)

    size = [
        (side + 2 * pad - step * (taps - 1) - 1) // by + 1
        for side, pad, step, taps, by in zip(
            (case.height, case.width), case.padding, case.dilation, case.kernel, case.stride
        )
    ]
    taps = case.kernel[0] * case.kernel[1] * case.deformable_groups
    feeds = {
        'x': draw(case.batch, case.channels, case.height, case.width),
        'offset': 4 * draw(case.batch, 2 * taps, *size),
    }
    feeds['offset'][:, :, ::3] = feeds['offset'][:, :, ::3].round()
    if case.with_mask:
        feeds['mask'] = 1 / (1 + np.exp(-draw(case.batch, taps, *size)))
    graph = Graph(19)  # the first opset with DeformConv
    graph.initializers['w'] = draw(case.outputs, case.channels // case.groups, *case.kernel)
    if case.with_bias:
        graph.initializers['b'] = draw(case.outputs)
    count = 'n' if open_batch else case.batch
    graph.inputs = [Value(name, F32, (count,) + array.shape[1:]) for name, array in feeds.items()]
    graph.outputs = [Value('y', F32, (count, case.outputs) + tuple(size))]
    convolution = deform_conv.DeformableConvolution(
        x='x',
        weight='w',
        bias='b' if case.with_bias else '',
        offset='offset',
        mask='mask' if case.with_mask else '',
        packed='',
        output='y',
        kernel=case.kernel,
        stride=case.stride,
        padding=case.padding,
        dilation=case.dilation,
        groups=case.groups,
        deformable_groups=case.deformable_groups,
    )
    graph.nodes = [deform_conv.write(Node('', [], [], name='dcn'), 'onnx', convolution)]
    mask = feeds.get('mask', np.ones((case.batch, taps) + tuple(size), np.float32))
    arrays = (feeds['x'], feeds['offset'], mask, graph.initializers['w'])
    bias = torch.from_numpy(graph.initializers['b']) if case.with_bias else None
    expected = deform_conv2d(
        *map(torch.from_numpy, arrays),
        bias,
        case.stride,
        case.padding,
        case.dilation,
        case.groups,
        case.deformable_groups,
    )
    return graph, feeds, expected.numpy()


def run(graph, feeds):
    """The first output of a graph of standard operators."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(
        graph.to_model().SerializeToString(), options, providers=['CPUExecutionProvider']
    )
    return session.run(None, feeds)[0]
