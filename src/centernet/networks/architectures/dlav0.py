"""DLA-34 with plain convolutions in the upsampling path (``dlav0_34``), the first version of CenterNet's DLA.

Yu et al., "Deep Layer Aggregation", 2018, section 4.2 (its network for dense prediction).
"""

from typing import Any, Dict

import torch
from torch import nn

from .blocks import convolution
from .dla import DLA34_CHANNELS, DLABase, DLAUp, IDAUp
from .heads import Concatenate, Detector


class PlainIDAUp(IDAUp):
    """Iterative deep aggregation with plain convolutions; layers are joined by concatenation."""

    def __init__(self, *options: Any) -> None:
        super().__init__(*options)
        self.concatenate = Concatenate()

    def projection(self, in_channels: int, out_channels: int) -> nn.Module:
        return convolution(in_channels, out_channels, 1)

    def node(self, channels: int) -> nn.Module:
        return convolution(2 * channels, channels, 3)

    def join(self, raised: torch.Tensor, finer: torch.Tensor) -> torch.Tensor:
        return self.concatenate([finer, raised])


class DLAV0(Detector):
    """DLA-34 with heads at stride 4.

    Args:
        heads: name -> channels.
        head_conv: channels of the heads' 3x3 convolution; 0 omits it.
    """

    def __init__(self, heads: Dict[str, int], head_conv: int) -> None:
        super().__init__()
        self.base = DLABase()
        # The classifier is unused, but the published checkpoints have it.
        self.base.fc = nn.Conv2d(DLA34_CHANNELS[-1], 1000, 1)
        self.dla_up = DLAUp(DLA34_CHANNELS[2:], PlainIDAUp)
        self.add_heads(heads, DLA34_CHANNELS[2], head_conv)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return self.dla_up(*self.base(x)[2:])[0]
