"""Deformable convolution as CenterNet's networks use it."""

import math

import torch
from torch import nn

from .arguments import pair
from .functional import deform_conv2d


class DCN(nn.Module):
    """A deformable convolution that predicts its own offsets and mask from its input.

    ``conv_offset_mask`` gives 3 * deformable_groups * taps channels: first the offsets, interleaved dy, dx
    per tap, then the logits of the mask. It starts at zero, so that an untrained module is half a plain
    convolution (the mask is sigmoid(0)). Parameter names (``weight``, ``bias``, ``conv_offset_mask.*``) are
    those of the published checkpoints.

    Args:
        in_channels, out_channels: of the convolution.
        kernel_size, stride, padding, dilation: an int, or two (vertical, horizontal).
        deformable_groups: how many groups of input channels have their own offsets.
    """

    def __init__(
        self, in_channels, out_channels, kernel_size=3, stride=1, padding=1, dilation=1, deformable_groups=1
    ):
        super().__init__()
        self.kernel_size = pair(kernel_size, 'kernel_size')
        self.stride = pair(stride, 'stride')
        self.padding = pair(padding, 'padding')
        self.dilation = pair(dilation, 'dilation')
        self.deformable_groups = deformable_groups
        taps = self.kernel_size[0] * self.kernel_size[1]
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *self.kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.conv_offset_mask = nn.Conv2d(
            in_channels,
            3 * deformable_groups * taps,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
        )
        self.reset_parameters()

    def reset_parameters(self):
        """Draw new weights; offsets, mask logits and bias become 0."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.constant_(self.bias, 0)
        nn.init.constant_(self.conv_offset_mask.weight, 0)
        nn.init.constant_(self.conv_offset_mask.bias, 0)

    def forward(self, input):
        """[N, in_channels, H, W] -> [N, out_channels, Ho, Wo]."""
        offset, mask = self.split(self.conv_offset_mask(input))
        return deform_conv2d(
            input,
            offset,
            mask,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            deformable_groups=self.deformable_groups,
        )

    def split(self, predicted):
        """What ``conv_offset_mask`` gave, as offsets [N, 2 * dg * taps, Ho, Wo] and mask [N, dg * taps, Ho,
        Wo]."""
        masks = predicted.shape[1] // 3
        return predicted[:, : 2 * masks], torch.sigmoid(predicted[:, 2 * masks :])

    def extra_repr(self):
        return (
            f'{self.weight.shape[1]}, {self.weight.shape[0]}, kernel_size={self.kernel_size},'
            f' stride={self.stride}, padding={self.padding}, dilation={self.dilation},'
            f' deformable_groups={self.deformable_groups}'
        )
