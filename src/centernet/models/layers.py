"""Layers that several networks share: heads, and up-sampling by transposed convolution."""

import math

import torch
from torch import nn

#: the bias of the last layer of ``hm``: every place starts as an object with probability 0.1
#: (Lin et al., "Focal Loss for Dense Object Detection", section 4.1)
HEATMAP_BIAS = -2.19


def make_head(name, in_channels, head_conv, out_channels, kernel_size=1):
    """A head: a 3x3 convolution of width ``head_conv``, ReLU, and a last convolution; with ``head_conv`` 0 just the last one.

    Args:
        name: ``hm`` heads get their bias from the probability of an object, others 0.
        in_channels, head_conv, out_channels: widths.
        kernel_size: of the last convolution.
    """
    last = nn.Conv2d(head_conv or in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    nn.init.constant_(last.bias, HEATMAP_BIAS if 'hm' in name else 0)
    if not head_conv:
        return last
    first = nn.Conv2d(in_channels, head_conv, 3, padding=1)
    nn.init.constant_(first.bias, 0)
    return nn.Sequential(first, nn.ReLU(inplace=True), last)


def upsampling(channels, factor):
    """Enlarges by ``factor``, each channel by itself, starting as bilinear interpolation."""
    layer = nn.ConvTranspose2d(channels, channels, 2 * factor, factor, factor // 2, groups=channels, bias=False)
    with torch.no_grad():
        layer.weight.copy_(bilinear_kernel(2 * factor).expand_as(layer.weight))
    return layer


def bilinear_kernel(size):
    """The [size, size] kernel by which a transposed convolution interpolates bilinearly (Long et al., FCN, section 3.3)."""
    factor = math.ceil(size / 2)
    centre = (2 * factor - 1 - factor % 2) / (2 * factor)
    line = torch.tensor([1 - abs(i / factor - centre) for i in range(size)])
    return line.view(-1, 1) * line.view(1, -1)
