"""The last layers of every CenterNet network: heads, and upsampling that is initially bilinear."""

from typing import Dict, Sequence

import torch
from torch import nn

from ...system.errors import ArchitectureError

#: log odds of 0.1: an untrained heat map shows few objects (RetinaNet, section 4.1; used by CenterNet)
HEATMAP_BIAS = -2.19


def make_head(name: str, in_channels: int, out_channels: int, head_conv: int) -> nn.Module:
    """Build one head: [N, in_channels, h, w] -> [N, out_channels, h, w] (Objects as Points, section 4).

    Args:
        name: a name that contains ``hm`` is a heat map, whose bias is initially :data:`HEATMAP_BIAS`.
        head_conv: channels between a 3x3 and a 1x1 convolution, or 0 for only the 1x1 convolution.
    """
    last = nn.Conv2d(head_conv or in_channels, out_channels, 1)
    if 'hm' in name:
        nn.init.constant_(last.bias, HEATMAP_BIAS)
    else:
        nn.init.normal_(last.weight, std=0.001)
        nn.init.constant_(last.bias, 0)
    if not head_conv:
        return last
    return nn.Sequential(nn.Conv2d(in_channels, head_conv, 3, padding=1), nn.ReLU(inplace=True), last)


class Detector(nn.Module):
    """A network with heads on its features, at stride 4."""

    #: see :func:`make_head`
    make_head = staticmethod(make_head)

    def add_heads(self, heads: Dict[str, int], in_channels: int, head_conv: int) -> None:
        """Build the heads.

        Args:
            heads: name -> channels.
            in_channels: of the features.
            head_conv: channels of the heads' 3x3 convolution; 0 omits it.

        Raises:
            ArchitectureError: the network already has an attribute of a head's name.
        """
        self.heads = tuple(heads)
        for name, channels in heads.items():
            if hasattr(self, name):
                raise ArchitectureError(f'{name!r} cannot name a head: the network has such an attribute')
            self.add_module(name, self.make_head(name, in_channels, channels, head_conv))

    def forward(self, x: torch.Tensor) -> Dict[str, torch.Tensor]:
        """[N, 3, H, W] -> head name to raw output [N, channels, H/4, W/4]."""
        features = self.features(x)
        return {name: getattr(self, name)(features) for name in self.heads}

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] -> what the heads take, [N, in_channels, H/4, W/4]."""
        raise NotImplementedError


class Concatenate(nn.Module):
    """Concatenates the channels of several tensors."""

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat(inputs, 1)


def bilinear_upsampling(channels: int, factor: int) -> nn.ConvTranspose2d:
    """Build a per-channel transposed convolution that upsamples by ``factor``, initially bilinear."""
    up = nn.ConvTranspose2d(
        channels, channels, 2 * factor, stride=factor, padding=factor // 2, groups=channels, bias=False
    )
    fill_bilinear(up)
    return up


def fill_bilinear(conv: nn.ConvTranspose2d) -> None:
    """Set the weights of a transposed convolution to bilinear interpolation.

    Each group must have as many inputs as outputs. Channel i of the output depends only on channel i of the
    input.
    """
    size = conv.kernel_size[0]
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    line = [1 - abs(i - centre) / factor for i in range(size)]
    kernel = conv.weight.new_tensor([[a * b for b in line] for a in line])
    nn.init.constant_(conv.weight, 0)
    per_group = conv.weight.shape[1]
    for i in range(conv.weight.shape[0]):
        conv.weight.data[i, i % per_group] = kernel
