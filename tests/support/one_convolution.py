"""A graph of one deformable convolution, its input, and what the operator's reference gives for it."""

import numpy as np
import onnxruntime
import torch

from centernet.dcn import deform_conv2d
from centernet.onnxfile import deform_conv
from centernet.onnxfile.graph import Graph, Node, Value

F32 = np.dtype(np.float32)
#: batch, in, height, width, out, kernel, stride, padding, dilation, groups, deformable groups, mask, bias
CENTERNETS = (1, 4, 8, 9, 5, (3, 3), (1, 1), (1, 1), (1, 1), 1, 1, True, True)
STRANGE = (2, 4, 8, 9, 6, (3, 2), (2, 1), (0, 2), (1, 2), 2, 2, True, True)
BARE = (2, 8, 7, 5, 4, (1, 3), (1, 1), (1, 1), (2, 1), 1, 4, False, False)


def make(
    batch,
    channels,
    height,
    width,
    outputs,
    kernel,
    stride,
    padding,
    dilation,
    groups,
    offset_groups,
    with_mask,
    with_bias,
    open_batch=False,
):
    """(Graph in ONNX's spelling, feeds, expected array). Offsets reach beyond the image, and some are whole
    numbers."""
    random = np.random.RandomState(0)

    def draw(*shape):
        return random.standard_normal(shape).astype(np.float32)

    size = [
        (side + 2 * pad - step * (taps - 1) - 1) // by + 1
        for side, pad, step, taps, by in zip((height, width), padding, dilation, kernel, stride)
    ]
    taps = kernel[0] * kernel[1] * offset_groups
    feeds = {'x': draw(batch, channels, height, width), 'offset': 4 * draw(batch, 2 * taps, *size)}
    feeds['offset'][:, :, ::3] = feeds['offset'][:, :, ::3].round()
    if with_mask:
        feeds['mask'] = 1 / (1 + np.exp(-draw(batch, taps, *size)))
    graph = Graph(deform_conv.ONNX_OPSET)
    graph.initializers['w'] = draw(outputs, channels // groups, *kernel)
    if with_bias:
        graph.initializers['b'] = draw(outputs)
    count = 'n' if open_batch else batch
    graph.inputs = [Value(name, F32, (count,) + array.shape[1:]) for name, array in feeds.items()]
    graph.outputs = [Value('y', F32, (count, outputs) + tuple(size))]
    convolution = deform_conv.DeformableConvolution(
        'x',
        'w',
        'b' if with_bias else '',
        'offset',
        'mask' if with_mask else '',
        '',
        'y',
        kernel,
        stride,
        padding,
        dilation,
        groups,
        offset_groups,
    )
    graph.nodes = [deform_conv.write(Node('', [], [], name='dcn'), 'onnx', convolution)]
    tensors = [
        torch.from_numpy(array)
        for array in (
            feeds['x'],
            feeds['offset'],
            feeds.get('mask', np.ones((batch, taps) + tuple(size), np.float32)),
            graph.initializers['w'],
        )
    ]
    bias = torch.from_numpy(graph.initializers['b']) if with_bias else None
    return (
        graph,
        feeds,
        deform_conv2d(*tensors, bias, stride, padding, dilation, groups, offset_groups).numpy(),
    )


def run(graph, feeds):
    """The first output of a graph of standard operators."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(
        graph.to_model().SerializeToString(), options, providers=['CPUExecutionProvider']
    )
    return session.run(None, feeds)[0]
