"""DLA-34 with deformable convolutions in the upsampling path (``dla_34``), and a small copy (``dla_tiny``).

Deep layer aggregation: Yu et al., "Deep Layer Aggregation", 2018. The upsampling with deformable
convolutions: Zhou et al., "Objects as Points", 2019, appendix A. Module names are those of the published
checkpoints.
"""

from typing import Dict, List, Sequence, Tuple

import torch
from torch import nn

from .blocks import BasicBlock, convolution, projection
from .heads import Concatenate, add_heads, bilinear_upsampling, make_head

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
        self.downsample = nn.MaxPool2d(stride, stride) if stride > 1 else None
        self.project = None
        if in_channels != out_channels:
            self.project = projection(in_channels, out_channels)

    def forward(self, x: torch.Tensor, children: Sequence[torch.Tensor] = ()) -> torch.Tensor:
        bottom = self.downsample(x) if self.downsample is not None else x
        if self.level_root:
            children = (*children, bottom)
        if self.levels > 1:
            x1 = self.tree1(x)
            return self.tree2(x1, children=(*children, x1))
        x1 = self.tree1(x, self.project(bottom) if self.project is not None else bottom)
        return self.root(self.tree2(x1), x1, *children)


class DLABase(nn.Module):
    """DLA-34 without its classifier: six levels, with strides 1, 2, 4, 8, 16 and 32."""

    def __init__(self, channels: Sequence[int] = DLA34_CHANNELS) -> None:
        super().__init__()
        self.channels = tuple(channels)
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
            setattr(self, f'proj_{i}', DeformConv(channels[i], out_channels))
            setattr(self, f'up_{i}', bilinear_upsampling(out_channels, factors[i]))
            setattr(self, f'node_{i}', DeformConv(out_channels, out_channels))

    def forward(self, *layers: torch.Tensor) -> Tuple[torch.Tensor, ...]:
        """Inputs, finest first -> the first input, then one joined output per further input, same size."""
        outputs = [layers[0]]
        for i, layer in enumerate(layers[1:], 1):
            raised = getattr(self, f'up_{i}')(getattr(self, f'proj_{i}')(layer))
            outputs.append(getattr(self, f'node_{i}')(raised + outputs[-1]))
        return tuple(outputs)


class DLAUp(nn.Module):
    """Aggregates the base's layers, coarsest first: each step upsamples all coarser layers by one level."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        count = len(channels)
        inputs = list(channels)
        for i in range(count - 1):
            j = count - 2 - i
            setattr(self, f'ida_{i}', IDAUp(channels[j], inputs[j:], [1] + [2] * (count - 1 - j)))
            inputs[j + 1 :] = [channels[j]] * (count - 1 - j)

    def forward(self, *layers: torch.Tensor) -> List[torch.Tensor]:
        """Layers, finest first -> one aggregated output per level, finest first."""
        layers = list(layers)
        outputs = [layers[-1]]
        for i in range(len(layers) - 1):
            j = len(layers) - 2 - i
            layers[j:] = getattr(self, f'ida_{i}')(*layers[j:])
            outputs.insert(0, layers[-1])
        return outputs


class DLASeg(nn.Module):
    """DLA with heads at stride 4.

    Args:
        heads: name -> channels.
        head_conv: channels of the heads' 3x3 convolution; 0 omits it.
        channels: widths of the base's six levels.
    """

    FIRST_LEVEL, LAST_LEVEL = 2, 5  # strides 4 and 32; the last aggregation takes levels 2 to 4

    def __init__(
        self, heads: Dict[str, int], head_conv: int, channels: Sequence[int] = DLA34_CHANNELS
    ) -> None:
        super().__init__()
        self.base = DLABase(channels)
        self.dla_up = DLAUp(channels[self.FIRST_LEVEL :])
        used = channels[self.FIRST_LEVEL : self.LAST_LEVEL]
        self.ida_up = IDAUp(used[0], used, [2**i for i in range(len(used))])
        self.heads = tuple(heads)
        add_heads(self, lambda name, outputs: make_head(name, used[0], outputs, head_conv), heads)

    def forward(self, x: torch.Tensor) -> Dict[str, torch.Tensor]:
        """[N, 3, H, W], H and W multiples of 32 -> head name to raw output [N, channels, H/4, W/4]."""
        levels = self.dla_up(*self.base(x)[self.FIRST_LEVEL :])
        features = self.ida_up(*levels[: self.LAST_LEVEL - self.FIRST_LEVEL])[-1]
        return {name: getattr(self, name)(features) for name in self.heads}
