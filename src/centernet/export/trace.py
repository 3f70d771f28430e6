"""Trace a network in torch into a :class:`Graph`: one forward pass, with the weights attached afterwards.

torch writes the structure alone, and the weights are the network's own arrays, so nothing is copied. While
the trace lasts, deformable convolutions go through a function with its own symbolic: it computes real values,
and appears in the trace as one node.
"""

import contextlib
import io
import types
import warnings
from typing import Sequence

import numpy as np
import onnx
import torch

from .. import compat
from ..dcn import DCN
from ..errors import ModelError
from ..onnxfile import graph as graphs
from ..onnxfile.graph import Graph, Node, Value

#: the opset of the structure, the one that torch 1.0.0 writes (:mod:`centernet.onnxfile.opsets` raises it)
OPSET = 9
#: a deformable convolution in the trace; its inputs: x, the output of conv_offset_mask, weight, bias
_TRACED = 'CenterNetDCN'


def trace(
    model: torch.nn.Module, outputs: Sequence[str], height: int, width: int, input_name: str = 'image'
) -> Graph:
    """Trace a network.

    Args:
        model: maps float32 [N, 3, H, W] to a dict of outputs; its parameters are on the CPU. It is put in
            evaluation mode.
        outputs: the names of the outputs to keep, in order.
        height, width: the size of the image, in pixels.
        input_name: the name of the input.

    Returns:
        A graph of batch 1 at opset 9. Deformable convolutions are DeformConv nodes, with Split and Sigmoid
        between them and the convolution that predicts their offsets. BatchNormalization is not folded.
        Initializers have the names of the state dict and share its memory.

    Raises:
        ModelError: torch cannot export the network.
    """
    wrapper = _Wrapper(model, outputs)
    with _traceable_deformable_convolutions(model, _OneNode):
        file = _export(wrapper, torch.zeros(1, 3, height, width), input_name, outputs, OPSET)
    graph = _with_weights(onnx.load_model_from_string(file), wrapper.state_dict())
    for node in list(graph.nodes):
        if node.op_type == _TRACED:
            graph.substitute(node, _spell(graph, node))
    graph.domains.clear()
    graph.inputs = [Value(input_name, np.dtype(np.float32), (1, 3, height, width))]
    return graph


def trace_raw(
    model: torch.nn.Module,
    outputs: Sequence[str],
    batch: int,
    height: int,
    width: int,
    input_name: str = 'image',
) -> Graph:
    """Trace a network in the way of the original sample, which takes two steps; ``centernet modify`` is the
    second.

    The offsets are brought into Ascend's order inside the graph, by reshape, slices and concatenation.
    DeformableConv2D has numbers for attributes, which ATC skips. BatchNormalization stays. Nodes have torch's
    names, or none, and torch's doc strings without the paths of this machine. Unlike the sample's, the
    outputs are named after what they hold.

    Args:
        model, outputs, height, width, input_name: see :func:`trace`.
        batch: number of images, to which the graph is then fixed.

    Returns:
        A graph at opset 9 (torch 1.0.0) or 11.

    Raises:
        ModelError: torch cannot export the network.
    """
    wrapper = _Wrapper(model, outputs)
    with _traceable_deformable_convolutions(model, _AscendNode):
        file = _export(wrapper, torch.zeros(batch, 3, height, width), input_name, outputs, compat.RAW_OPSET)
    graph = _with_weights(onnx.load_model_from_string(file), wrapper.state_dict())
    for node in graph.nodes:
        node.domain = ''
        node.doc_string = '\n'.join(line.rsplit('/', 1)[-1] for line in node.doc_string.splitlines())
    graph.domains.clear()
    return graph


class _Wrapper(torch.nn.Module):
    """The network with a tuple of outputs, which is all that torch 1.0.0 can trace."""

    def __init__(self, model, outputs):
        super().__init__()
        self.model = model
        self.outputs = tuple(outputs)

    def forward(self, x):
        heads = self.model(x)
        return tuple(heads[name] for name in self.outputs)


@contextlib.contextmanager
def _traceable_deformable_convolutions(model, function):
    """Send every DCN of ``model`` through ``function`` while the block lasts."""
    modules = [module for module in model.modules() if isinstance(module, DCN)]
    try:
        for module in modules:
            module.forward = types.MethodType(function.forward_of, module)
        yield
    finally:
        for module in modules:
            module.__dict__.pop('forward', None)


class _OneNode(torch.autograd.Function):
    """A deformable convolution as one node."""

    @staticmethod
    def forward_of(module, x):
        return _OneNode.apply(x, module.conv_offset_mask(x), module.weight, module.bias, module)

    @staticmethod
    def forward(ctx, x, predicted, weight, bias, module):
        with compat.untraced():
            return DCN.forward(module, x)

    @staticmethod
    def symbolic(g, x, predicted, weight, bias, module):
        node = g.op(
            compat.custom_operator(_TRACED),
            x,
            predicted,
            weight,
            bias,
            stride_i=list(module.stride),
            padding_i=list(module.padding),
            dilation_i=list(module.dilation),
            deformable_groups_i=module.deformable_groups,
        )
        return compat.with_channels(node, predicted, module.weight.shape[0])


class _AscendNode(torch.autograd.Function):
    """A deformable convolution as the sample exports it: its offsets are re-ordered in the graph."""

    @staticmethod
    def forward_of(module, x):
        predicted = module.conv_offset_mask(x)
        first, second, mask = torch.chunk(predicted, 3, dim=1)
        offset = torch.cat((first, second), dim=1)
        pairs = offset.view(offset.size(0), -1, 2, offset.size(2), offset.size(3))
        packed = torch.cat((pairs[:, :, 1], pairs[:, :, 0], torch.sigmoid(mask)), dim=1)
        return _AscendNode.apply(x, module.weight, packed, module.bias, module)

    @staticmethod
    def forward(ctx, x, weight, packed, bias, module):
        with compat.untraced():
            return DCN.forward(module, x)

    @staticmethod
    def symbolic(g, x, weight, packed, bias, module):
        node = g.op(
            compat.custom_operator('DeformableConv2D'),
            x,
            weight,
            packed,
            bias,
            strides_i=module.stride[0],
            pads_i=module.padding[0],
            dilations_i=module.dilation[0],
            groups_i=1,
            deformable_groups_i=module.deformable_groups,
        )
        return compat.with_channels(node, packed, module.weight.shape[0])


def _export(wrapper, image, input_name, outputs, opset):
    """The bytes of a model without weights: its inputs are the image and the entries of the state dict."""
    file = io.BytesIO()
    wrapper.eval()
    with torch.no_grad(), warnings.catch_warnings():
        # torch's: its exporter is old, and sizes become constants, as they should
        warnings.simplefilter('ignore')
        try:
            compat.export_structure(wrapper, image, file, input_name, list(outputs), opset)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ModelError(
                'torch {} cannot export this network: {}'.format(
                    torch.__version__, ' '.join(str(error).split())[:300]
                )
            ) from error
    return file.getvalue()


def _with_weights(model, state_dict):
    """A graph of a model whose weights are inputs, with the weights; names lose the wrapper's prefix."""
    graph = graphs.of_model(model)
    graph.name, graph.producer = 'centernet', ('', '')
    prefix = 'model.'
    for value in list(graph.inputs):
        if value.name in state_dict:
            graph.inputs.remove(value)
            graph.initializers[value.name[len(prefix) :]] = state_dict[value.name].detach().numpy()
    for node in graph.nodes:
        node.inputs = [name[len(prefix) :] if name in state_dict else name for name in node.inputs]
    return graph


def _spell(graph, node):
    """The traced node as Split, Sigmoid and DeformConv."""
    x, predicted, weight, bias = node.inputs
    kernel = graph.initializers[weight].shape[2:]
    groups = node.attributes['deformable_groups']
    masks = groups * kernel[0] * kernel[1]
    offset, logits, mask = (graph.fresh(node.outputs[0] + what) for what in ('.offset', '.logits', '.mask'))
    return [
        Node('Split', [predicted], [offset, logits], [('axis', 1), ('split', [2 * masks, masks])]),
        Node('Sigmoid', [logits], [mask]),
        Node(
            'DeformConv',
            [x, weight, offset, bias, mask],
            node.outputs,
            [
                ('kernel_shape', list(kernel)),
                ('strides', node.attributes['stride']),
                ('pads', node.attributes['padding'] * 2),
                ('dilations', node.attributes['dilation']),
                ('group', 1),
                ('offset_group', groups),
            ],
        ),
    ]
