"""The parts that several networks are built from."""

from typing import Optional

import torch
from torch import nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a residual, by default the input."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor, residual: Optional[torch.Tensor] = None) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + (self.shortcut(x) if residual is None else residual))

    def shortcut(self, x: torch.Tensor) -> torch.Tensor:
        return x


class ProjectedBlock(BasicBlock):
    """Two 3x3 convolutions and a residual, projected if the shape changes."""

    #: the projection's name in the published checkpoints
    PROJECTION = 'downsample'

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, channels, stride)
        self.add_module(self.PROJECTION, shortcut(in_channels, channels, stride))

    def shortcut(self, x: torch.Tensor) -> torch.Tensor:
        return getattr(self, self.PROJECTION)(x)


def convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    """Build a convolution, BatchNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Build the projection for a block that changes the shape, and nothing for others."""
    changes = stride != 1 or in_channels != out_channels
    return projection(in_channels, out_channels, stride) if changes else nn.Sequential()


def projection(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """Build a 1x1 convolution and BatchNorm."""
    layer = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(out_channels))
