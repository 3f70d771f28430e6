"""The large hourglass network with two stacks (``hourglass``, also known as Hourglass-104).

Newell et al., "Stacked Hourglass Networks for Human Pose Estimation", 2016, in the form of Law and Deng,
"CornerNet", 2018, section 3.5: strides in place of pooling, five levels, widths 256 to 512.
"""

from collections import OrderedDict
from typing import Any, Dict, Sequence

import torch
from torch import nn

from ...system.errors import ArchitectureError
from .blocks import ProjectedBlock, convolution, projection
from .heads import Detector, make_head

#: channels at each size, finest (stride 4) first
CHANNELS = (256, 256, 384, 384, 384, 512)
#: residual blocks at each size
BLOCKS = (2, 2, 2, 2, 2, 4)
STACKS = 2


class Residual(ProjectedBlock):
    PROJECTION = 'skip'


class Hourglass(nn.Module):
    """One hourglass: a branch at full size, and one down, through a smaller hourglass, and up again.

    Args:
        channels, blocks: per size, largest first; the innermost hourglass has two sizes.
    """

    def __init__(self, channels: Sequence[int] = CHANNELS, blocks: Sequence[int] = BLOCKS) -> None:
        super().__init__()
        here, below = channels[:2]
        self.up1 = residuals(here, here, blocks[0])
        self.low1 = nn.Sequential(Residual(here, below, 2), *residuals(below, below, blocks[0] - 1))
        if len(channels) > 2:
            self.low2 = Hourglass(channels[1:], blocks[1:])
        else:
            self.low2 = residuals(below, below, blocks[1])
        self.low3 = nn.Sequential(*residuals(below, below, blocks[0] - 1), Residual(below, here))
        self.up2 = nn.Upsample(scale_factor=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up1(x) + self.up2(self.low3(self.low2(self.low1(x))))


class HourglassNet(Detector):
    """Two hourglasses with their own heads; the second takes the features of the first.

    Args:
        heads: name -> channels.
        head_conv: channels of the heads' 3x3 convolution, at least 1.

    Raises:
        ArchitectureError: head_conv is 0.
    """

    def __init__(self, heads: Dict[str, int], head_conv: int) -> None:
        super().__init__()
        if not head_conv:
            raise ArchitectureError('the heads of hourglass need a 3x3 convolution: head_conv is 0')
        width = CHANNELS[0]
        self.pre = nn.Sequential(named_convolution(3, 128, 7, 2), Residual(128, width, 2))
        self.kps = nn.ModuleList(Hourglass() for _ in range(STACKS))
        self.cnvs = nn.ModuleList(named_convolution(width, width, 3) for _ in range(STACKS))
        self.inters = nn.ModuleList(Residual(width, width) for _ in range(STACKS - 1))
        self.inters_ = nn.ModuleList(projection(width, width) for _ in range(STACKS - 1))
        self.cnvs_ = nn.ModuleList(projection(width, width) for _ in range(STACKS - 1))
        self.relu = nn.ReLU(inplace=True)
        self.add_heads(heads, width, head_conv)

    def make_head(self, *options: Any) -> nn.Module:
        """As :func:`make_head`, for every stack."""
        return StackHeads(stack_head(*options) for _ in range(STACKS))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pre(x)
        for i in range(STACKS):
            features = self.cnvs[i](self.kps[i](x))
            if i < STACKS - 1:
                x = self.inters[i](self.relu(self.inters_[i](x) + self.cnvs_[i](features)))
        return features


class StackHeads(nn.ModuleList):
    """A head for each stack. That of the last one is used; the others serve only training."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self[-1](x)


def named_convolution(*options: int) -> nn.Sequential:
    """As :func:`.blocks.convolution`, with names."""
    return nn.Sequential(OrderedDict(zip(('conv', 'bn', 'relu'), convolution(*options))))


def residuals(in_channels: int, out_channels: int, count: int) -> nn.Sequential:
    """Build ``count`` residual blocks, the first of which changes the channels."""
    return nn.Sequential(*[Residual(out_channels if i else in_channels, out_channels) for i in range(count)])


def stack_head(*options: Any) -> nn.Sequential:
    """Build a head with the parameter names of the published checkpoints."""
    first, relu, last = make_head(*options)
    return nn.Sequential(nn.Sequential(OrderedDict(conv=first, relu=relu)), last)
