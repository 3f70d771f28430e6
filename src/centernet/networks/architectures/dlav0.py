"""DLA-34 with plain convolutions in the upsampling path (``dlav0_34``), the first version of CenterNet's DLA.

Yu et al., "Deep Layer Aggregation", 2018, section 4.2 (its network for dense prediction).
"""

from typing import Dict, List, Sequence

import torch
from torch import nn

from .blocks import convolution
from .dla import DLA34_CHANNELS, DLABase
from .heads import Concatenate, add_heads, bilinear_upsampling, make_head


class IDAUp(nn.Module):
    """Iterative deep aggregation: upsamples coarser layers and joins each with the previous one.

    Args:
        out_channels: of every output and of the first input.
        channels: of the inputs, finest first.
    """

    def __init__(self, out_channels: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.concatenate = Concatenate()
        for i in range(1, len(channels)):
            setattr(self, f'proj_{i}', convolution(channels[i], out_channels, 1))
            setattr(self, f'up_{i}', bilinear_upsampling(out_channels, 2))
            setattr(self, f'node_{i}', convolution(2 * out_channels, out_channels, 3))

    def forward(self, *layers: torch.Tensor) -> List[torch.Tensor]:
        """Inputs, the first twice as fine as the others -> one joined output per other, of its size."""
        outputs = [layers[0]]
        for i, layer in enumerate(layers[1:], 1):
            raised = getattr(self, f'up_{i}')(getattr(self, f'proj_{i}')(layer))
            outputs.append(getattr(self, f'node_{i}')(self.concatenate([outputs[-1], raised])))
        return outputs[1:]


class DLAUp(nn.Module):
    """Aggregates the base's layers, coarsest first: each step upsamples all coarser layers by one level."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        channels = list(channels)
        for i in range(len(channels) - 1):
            finer = len(channels) - 2 - i
            setattr(self, f'ida_{i}', IDAUp(channels[finer], channels[finer:]))
            channels[finer + 1 :] = [channels[finer]] * (i + 1)

    def forward(self, *layers: torch.Tensor) -> torch.Tensor:
        """Layers, finest first -> the features at the finest one's size."""
        layers = list(layers)
        for i in range(len(layers) - 1):
            finer = len(layers) - 2 - i
            layers[finer + 1 :] = getattr(self, f'ida_{i}')(*layers[finer:])
        return layers[-1]


class DLAV0(nn.Module):
    """DLA-34 with heads at stride 4.

    Args:
        heads: name -> channels.
        head_conv: channels of the heads' 3x3 convolution; 0 omits it.
    """

    FIRST_LEVEL = 2  # stride 4

    def __init__(self, heads: Dict[str, int], head_conv: int) -> None:
        super().__init__()
        self.base = DLABase()
        # The classifier is unused, but the published checkpoints have it.
        self.base.fc = nn.Conv2d(DLA34_CHANNELS[-1], 1000, 1)
        self.dla_up = DLAUp(DLA34_CHANNELS[self.FIRST_LEVEL :])
        channels = DLA34_CHANNELS[self.FIRST_LEVEL]
        self.heads = tuple(heads)
        add_heads(self, lambda name, outputs: make_head(name, channels, outputs, head_conv), heads)

    def forward(self, x: torch.Tensor) -> Dict[str, torch.Tensor]:
        """[N, 3, H, W], H and W multiples of 32 -> head name to raw output [N, channels, H/4, W/4]."""
        features = self.dla_up(*self.base(x)[self.FIRST_LEVEL :])
        return {name: getattr(self, name)(features) for name in self.heads}
