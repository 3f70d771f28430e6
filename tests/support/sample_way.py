"""An export in the way of the original sample: a raw file that :mod:`centernet.exporting` did not make.

The offsets are brought into Ascend's order by operators in the graph, the attributes are single numbers, and
the outputs named hm, wh, reg are the tensors (hm, reg, wh). The sample calls ``reshape``, which an unpatched
torch 1.0.0 does not export; ``view`` traces to what the patched one writes.
"""

import io
import types
import warnings

import onnx
import torch

from centernet.kernels import DCN

OUTPUT_NAMES = ['hm', 'wh', 'reg']
MODERN = not torch.__version__.startswith('1.0.')


class SampleDCN(torch.autograd.Function):
    @staticmethod
    def symbolic(g, x, weight, offset, bias, module):
        return g.op(
            'sample::DeformableConv2D' if MODERN else 'DeformableConv2D',
            x,
            weight,
            offset,
            bias,
            deformable_groups_i=1,
            dilations_i=1,
            groups_i=1,
            pads_i=1,
            strides_i=1,
        )

    @staticmethod
    def forward(ctx, x, weight, offset, bias, module):
        return x.new_zeros(()).expand(
            x.shape[0], module.bias.numel(), x.shape[2], x.shape[3]
        )  # the sample's is not even set to 0


def forward(self, x):
    out = self.conv_offset_mask(x)
    o1, o2, mask = torch.chunk(out, 3, dim=1)
    offset = torch.cat((o1, o2), dim=1)
    offset = offset.view(1, -1, 2, offset.shape[2], offset.shape[3])
    offset_y = offset[:, :, 0, ...]
    offset_x = offset[:, :, 1, ...]
    offset = torch.cat((offset_x, offset_y, torch.sigmoid(mask)), dim=1)
    return SampleDCN.apply(x, self.weight, offset, self.bias, self)


class Swapped(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        heads = self.model(x)
        return heads['hm'], heads['reg'], heads['wh']


def export(model, path, height, width):
    """Write ``path``; batch 1."""
    modules = [module for module in model.modules() if isinstance(module, DCN)]
    for module in modules:
        module.forward = types.MethodType(forward, module)
    file, options = io.BytesIO(), {}
    if MODERN:
        options = {'dynamo': False, 'opset_version': 11}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # torch's, about the age of its exporter
            torch.onnx.export(
                Swapped(model).eval(),
                torch.zeros(1, 3, height, width),
                file,
                input_names=['image'],
                output_names=OUTPUT_NAMES,
                **options,
            )
    finally:
        for module in modules:
            del module.forward
    proto = onnx.load_model_from_string(file.getvalue())
    for node in proto.graph.node:
        if node.domain == 'sample':
            node.domain = ''
    onnx.save(proto, str(path))
    return proto
