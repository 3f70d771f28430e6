"""DLA-34 with deformable convolutions in the upsampling path (``dla_34``), and a small copy (``dla_tiny``).

Deep layer aggregation: Yu et al., "Deep Layer Aggregation", 2018. The upsampling with deformable
convolutions: Zhou et al., "Objects as Points", 2019, appendix A. Module names are those of the published
checkpoints.
"""

from typing import Dict, List, Sequence, Type

import torch
from torch import nn

from .blocks import BasicBlock, convolution, shortcut
from .heads import Concatenate, Detector, bilinear_upsampling

#: widths of DLA-34's six levels
DLA34_CHANNELS = (16, 32, 64, 128, 256, 512)


class Root(nn.Module):
    """Aggregates its inputs with a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.concatenate = Concatenate()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.relu(self.bn(self.conv(self.concatenate(inputs))))


class Tree(nn.Module):
    """A stage of hierarchical aggregation: two subtrees (or blocks), joined in a root.

    Args:
        levels: depth; 1 is two blocks and a root.
        in_channels, out_channels: of the stage.
        stride: of the first block.
        level_root: also pass the (downsampled) input to the last root.
        root_channels: input channels of the root; 0 means twice out_channels.
    """

    def __init__(
        self,
        levels: int,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        level_root: bool = False,
        root_channels: int = 0,
    ) -> None:
        super().__init__()
        root_channels = root_channels or 2 * out_channels
        if level_root:
            root_channels += in_channels
        if levels == 1:
            self.tree1 = BasicBlock(in_channels, out_channels, stride)
            self.tree2 = BasicBlock(out_channels, out_channels)
            self.root = Root(root_channels, out_channels)
        else:
            self.tree1 = Tree(levels - 1, in_channels, out_channels, stride)
            self.tree2 = Tree(
                levels - 1, out_channels, out_channels, root_channels=root_channels + out_channels
            )
        self.levels = levels
        self.level_root = level_root
        self.downsample = nn.MaxPool2d(stride, stride) if stride > 1 else nn.Sequential()
        self.project = shortcut(in_channels, out_channels, 1)

    def forward(self, x: torch.Tensor, children: Sequence[torch.Tensor] = ()) -> torch.Tensor:
        bottom = self.downsample(x)
        if self.level_root:
            children = (*children, bottom)
        if self.levels > 1:
            x1 = self.tree1(x)
            return self.tree2(x1, children=(*children, x1))
        x1 = self.tree1(x, self.project(bottom))
        return self.root(self.tree2(x1), x1, *children)


class DLABase(nn.Module):
    """DLA-34 without its classifier: six levels, with strides 1, 2, 4, 8, 16 and 32."""

    def __init__(self, channels: Sequence[int] = DLA34_CHANNELS) -> None:
        super().__init__()
        self.base_layer = convolution(3, channels[0], 7, 1)
        self.level0 = convolution(channels[0], channels[0], 3, 1)
        self.level1 = convolution(channels[0], channels[1], 3, 2)
        self.level2 = Tree(1, channels[1], channels[2], 2)
        self.level3 = Tree(2, channels[2], channels[3], 2, level_root=True)
        self.level4 = Tree(2, channels[3], channels[4], 2, level_root=True)
        self.level5 = Tree(1, channels[4], channels[5], 2, level_root=True)

    def forward(self, x: torch.Tensor) -> List[torch.Tensor]:
        """[N, 3, H, W] -> the outputs of the six levels, finest first."""
        x = self.base_layer(x)
        outputs = []
        for level in (self.level0, self.level1, self.level2, self.level3, self.level4, self.level5):
            x = level(x)
            outputs.append(x)
        return outputs


class DeformConv(nn.Module):
    """A deformable 3x3 convolution, BatchNorm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        from ...kernels import DCN  # not at the top: dlav0 shares this module and does not need it

        self.actf = nn.Sequential(nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
        self.conv = DCN(in_channels, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.actf(self.conv(x))


class IDAUp(nn.Module):
    """Iterative deep aggregation: upsamples coarser layers and joins each with the previous one.

    Args:
        out_channels: of every output.
        channels: of the inputs, finest first.
        factors: upsampling factor of each input, relative to the first.
    """

    def __init__(self, out_channels: int, channels: Sequence[int], factors: Sequence[int]) -> None:
        super().__init__()
        for i in range(1, len(channels)):
            setattr(self, f'proj_{i}', self.projection(channels[i], out_channels))
            setattr(self, f'up_{i}', bilinear_upsampling(out_channels, factors[i]))
            setattr(self, f'node_{i}', self.node(out_channels))

    def projection(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build the layer before upsampling."""
        return DeformConv(in_channels, out_channels)

    def node(self, channels: int) -> nn.Module:
        """Build the layer behind :meth:`join`."""
        return DeformConv(channels, channels)

    def join(self, raised: torch.Tensor, finer: torch.Tensor) -> torch.Tensor:
        """Join two layers of the same shape."""
        return raised + finer

    def forward(self, *layers: torch.Tensor) -> List[torch.Tensor]:
        """Inputs, finest first -> the first input, then one joined output per further input, same size."""
        outputs = [layers[0]]
        for i, layer in enumerate(layers[1:], 1):
            raised = getattr(self, f'up_{i}')(getattr(self, f'proj_{i}')(layer))
            outputs.append(getattr(self, f'node_{i}')(self.join(raised, outputs[-1])))
        return outputs


class DLAUp(nn.Module):
    """Aggregates the base's layers, coarsest first: each step upsamples all coarser layers by one level.

    Args:
        channels: of the layers, finest first.
        aggregation: :class:`IDAUp` or a subclass.
    """

    def __init__(self, channels: Sequence[int], aggregation: Type[IDAUp] = IDAUp) -> None:
        super().__init__()
        for i in range(len(channels) - 1):
            finer, coarser = channels[-2 - i], channels[-1 - i]
            setattr(self, f'ida_{i}', aggregation(finer, [finer] + [coarser] * (i + 1), [1] + [2] * (i + 1)))

    def forward(self, *layers: torch.Tensor) -> List[torch.Tensor]:
        """Layers, finest first -> one aggregated output per level, finest first."""
        layers = list(layers)
        outputs = [layers[-1]]
        for i in range(len(layers) - 1):
            layers[-2 - i :] = getattr(self, f'ida_{i}')(*layers[-2 - i :])
            outputs.insert(0, layers[-1])
        return outputs


class DLASeg(Detector):
    """DLA with heads at stride 4.

    Args:
        heads: name -> channels.
        head_conv: channels of the heads' 3x3 convolution; 0 omits it.
        channels: widths of the base's six levels.
    """

    def __init__(
        self, heads: Dict[str, int], head_conv: int, channels: Sequence[int] = DLA34_CHANNELS
    ) -> None:
        super().__init__()
        self.base = DLABase(channels)
        self.dla_up = DLAUp(channels[2:])  # strides 4 to 32
        used = channels[2:5]
        self.ida_up = IDAUp(used[0], used, [1, 2, 4])
        self.add_heads(heads, used[0], head_conv)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return self.ida_up(*self.dla_up(*self.base(x)[2:])[:3])[-1]
