"""Trace a network in torch into a :class:`Graph`: one forward pass, with the weights attached afterwards.

torch writes the structure alone, and the weights are the network's own arrays, so nothing is copied. While
the trace lasts, deformable convolutions go through a function with its own symbolic: it computes real values,
and appears in the trace as the nodes of the symbolic.
"""

import functools
import io
import warnings
from typing import Sequence

import onnx
import torch

from ..kernels import DCN
from ..onnxfile import graph as graphs
from ..onnxfile.graph import Graph
from ..system import compat
from ..system.errors import ModelError

#: the opset of the structure, the one that torch 1.0.0 writes (:mod:`centernet.onnxfile.opsets` raises it)
OPSET = 9
#: the name of the input
INPUT_NAME = 'image'


def trace(model: torch.nn.Module, outputs: Sequence[str], height: int, width: int) -> Graph:
    """Trace a network.

    Args:
        model: maps float32 [N, 3, H, W] to a dict of outputs; its parameters are on the CPU. It is put in
            evaluation mode.
        outputs: the names of the outputs to keep, in order.
        height, width: the size of the image, in pixels.

    Returns:
        A graph of batch 1 at opset 9. Deformable convolutions are DeformConv nodes, with Split and Sigmoid
        between them and the convolution that predicts their offsets. BatchNormalization is not folded.
        Initializers have the names of the state dict and share its memory.

    Raises:
        ModelError: torch cannot export the network.
    """
    return _traced(model, _OneNode, outputs, (1, 3, height, width), OPSET)


def trace_raw(model: torch.nn.Module, outputs: Sequence[str], batch: int, height: int, width: int) -> Graph:
    """Trace a network in the way of the original sample, which takes two steps; ``centernet modify`` is the
    second.

    The offsets are brought into Ascend's order inside the graph, by reshape, slices and concatenation.
    DeformableConv2D has numbers for attributes, which ATC skips. BatchNormalization stays. Nodes have torch's
    names, or none, and torch's doc strings without the paths of this machine. Unlike the sample's, the
    outputs are named after what they hold.

    Args:
        model, outputs, height, width: see :func:`trace`.
        batch: number of images, to which the graph is then fixed.

    Returns:
        A graph at opset 9 (torch 1.0.0) or 11.

    Raises:
        ModelError: torch cannot export the network.
    """
    graph = _traced(model, _AscendNode, outputs, (batch, 3, height, width), compat.RAW_OPSET)
    for node in graph.nodes:
        node.doc_string = '\n'.join(line.rsplit('/', 1)[-1] for line in node.doc_string.splitlines())
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


class _Traced(torch.autograd.Function):
    """A deformable convolution, whose module is the last argument."""

    @staticmethod
    def forward(ctx, x, *others):
        with compat.untraced():
            return DCN.forward(others[-1], x)


class _OneNode(_Traced):
    """A deformable convolution in ONNX's spelling, behind Split and Sigmoid."""

    @staticmethod
    def forward_of(module, x):
        return _OneNode.apply(x, module.conv_offset_mask(x), module.weight, module.bias, module)

    @staticmethod
    def symbolic(g, x, predicted, weight, bias, module):
        outputs, _, *kernel = module.weight.shape
        masks = module.deformable_groups * kernel[0] * kernel[1]
        offset, logits = g.op('Split', predicted, axis_i=1, split_i=[2 * masks, masks], outputs=2)
        inputs = (x, weight, offset, bias, g.op('Sigmoid', logits))
        node = g.op(
            compat.custom_operator('DeformConv'),
            *inputs,
            kernel_shape_i=kernel,
            strides_i=list(module.stride),
            pads_i=list(module.padding) * 2,
            dilations_i=list(module.dilation),
            group_i=1,
            offset_group_i=module.deformable_groups,
        )
        return compat.with_channels(node, predicted, outputs)


class _AscendNode(_Traced):
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
    def symbolic(g, x, weight, packed, bias, module):
        inputs = (x, weight, packed, bias)
        node = g.op(
            compat.custom_operator('DeformableConv2D'),
            *inputs,
            strides_i=module.stride[0],
            pads_i=module.padding[0],
            dilations_i=module.dilation[0],
            groups_i=1,
            deformable_groups_i=module.deformable_groups,
        )
        return compat.with_channels(node, packed, module.weight.shape[0])


def _traced(model, function, outputs, shape, opset):
    """The graph of a model whose deformable convolutions go through ``function``, with its weights."""
    wrapper, file = _Wrapper(model, outputs).eval(), io.BytesIO()
    modules = [module for module in model.modules() if isinstance(module, DCN)]
    with torch.no_grad(), warnings.catch_warnings():
        # torch's: its exporter is old, and sizes become constants, as they should
        warnings.simplefilter('ignore')
        try:
            for module in modules:
                module.forward = functools.partial(function.forward_of, module)
            compat.export_structure(wrapper, torch.zeros(*shape), file, INPUT_NAME, list(outputs), opset)
        except (RuntimeError, TypeError, ValueError) as error:
            text = ' '.join(str(error).split())[:300]
            raise ModelError(f'torch {torch.__version__} cannot export this network: {text}') from error
        finally:
            for module in modules:
                module.__dict__.pop('forward', None)
    graph = graphs.of_model(onnx.load_model_from_string(file.getvalue()))
    graph.name, graph.producer = 'centernet', ('', '')
    graph.domains.clear()
    # the weights are inputs, named as in the wrapper's state dict: model.<name>
    weights, prefix = wrapper.state_dict(), len('model.')
    given = [value.name for value in graph.inputs if value.name in weights]
    graph.inputs = [value for value in graph.inputs if value.name not in weights]
    graph.initializers.update((name[prefix:], weights[name].detach().numpy()) for name in given)
    for node in graph.nodes:
        node.domain = ''
        node.inputs = [name[prefix:] if name in weights else name for name in node.inputs]
    return graph
