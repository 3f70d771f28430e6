"""Residual networks with a deformable convolution before each step up (``resdcn_18`` to ``resdcn_152``).

Zhou et al., "Objects as Points", 2019, section 5 and appendix A.
"""

from torch import nn

from ..dcn import DCN
from .heads import fill_bilinear
from .resnet import ResNet


class ResNetDCN(ResNet):
    """:class:`ResNet` whose steps up are a deformable convolution and a transposed convolution that starts
    out bilinear."""

    UP_CHANNELS = (256, 128, 64)

    def step_up(self, in_channels, out_channels):
        up = nn.ConvTranspose2d(out_channels, out_channels, 4, 2, 1, bias=False)
        fill_bilinear(up)  # every channel from its own at first; training may mix them, unlike in DLA's
        return [
            DCN(in_channels, out_channels),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            up,
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        ]


def build(heads, head_conv, depth):
    """``resdcn_<depth>``."""
    return ResNetDCN(depth, heads, head_conv)
