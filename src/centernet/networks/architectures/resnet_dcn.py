"""Residual networks with a deformable convolution before each upsampling (``resdcn_18`` to ``resdcn_152``).

Zhou et al., "Objects as Points", 2019, section 5 and appendix A.
"""

from typing import List

from torch import nn

from ...kernels import DCN
from .heads import fill_bilinear
from .resnet import ResNet


class ResNetDCN(ResNet):
    """:class:`ResNet` with deformable convolutions, each followed by initially bilinear upsampling."""

    UP_CHANNELS = (256, 128, 64)

    def step_up(self, in_channels: int, out_channels: int) -> List[nn.Module]:
        up = nn.ConvTranspose2d(out_channels, out_channels, 4, 2, 1, bias=False)
        fill_bilinear(up)  # one input per output at first; unlike in DLA, training may mix channels
        return [
            DCN(in_channels, out_channels),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            up,
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        ]
