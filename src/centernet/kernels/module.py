"""Deformable convolution as a module, as in CenterNet's networks."""

import math
from typing import Tuple

import torch
from torch import nn

from .arguments import Pair, pair
from .functional import deform_conv2d


class DCN(nn.Module):
    """A deformable convolution that predicts its offsets and mask from its input.

    ``conv_offset_mask`` outputs 3 * deformable_groups * taps channels: first the offsets, dy and dx
    interleaved per tap, then the logits of the mask. It is initially zero, so an untrained module is half a
    plain convolution (the mask is sigmoid(0)). Parameter names (``weight``, ``bias``, ``conv_offset_mask.*``)
    are those of the published checkpoints.

    Args:
        in_channels, out_channels: of the convolution.
        kernel_size, stride, padding, dilation: an int, or two (vertical, horizontal).
        deformable_groups: number of groups of input channels with their own offsets.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair = 3,
        stride: Pair = 1,
        padding: Pair = 1,
        dilation: Pair = 1,
        deformable_groups: int = 1,
    ) -> None:
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

    def reset_parameters(self) -> None:
        """Draw new weights, and set offsets, mask logits and bias to 0."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.constant_(self.bias, 0)
        nn.init.constant_(self.conv_offset_mask.weight, 0)
        nn.init.constant_(self.conv_offset_mask.bias, 0)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
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

    def split(self, predicted: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """Split the output of ``conv_offset_mask`` into offsets and mask (after the sigmoid).

        [N, 2 * deformable_groups * taps, Ho, Wo] and [N, deformable_groups * taps, Ho, Wo].
        """
        masks = predicted.shape[1] // 3
        return predicted[:, : 2 * masks], torch.sigmoid(predicted[:, 2 * masks :])
