"""Residual networks with plain transposed convolutions (``res_18`` to ``res_152``).

The body: He et al., "Deep Residual Learning for Image Recognition", 2015, with the stride of a bottleneck on
its 3x3 convolution. The three transposed convolutions: Xiao et al., "Simple Baselines for Human Pose
Estimation", 2018.
"""

from typing import Dict, List

import torch
from torch import nn

from .blocks import ProjectedBlock, shortcut
from .heads import Detector


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up to four times the width, and a residual."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(in_channels, width * self.expansion, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + self.downsample(x))


#: depth -> the block, and the number of blocks in each of the four stages
DEPTHS = {
    18: (ProjectedBlock, (2, 2, 2, 2)),
    34: (ProjectedBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


class ResNet(Detector):
    """A residual network, upsampling from stride 32 to stride 4, and heads.

    Args:
        heads: name -> channels.
        head_conv: channels of the heads' 3x3 convolution; 0 omits it.
        depth: one of :data:`DEPTHS`.
    """

    #: channels of the three upsampling steps
    UP_CHANNELS = (256, 256, 256)

    def __init__(self, heads: Dict[str, int], head_conv: int, depth: int) -> None:
        super().__init__()
        block, counts = DEPTHS[depth]
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for stage, count in enumerate(counts):
            width = 64 << stage
            blocks = []
            for i in range(count):
                blocks.append(block(channels, width, 2 if stage and not i else 1))
                channels = width * block.expansion
            setattr(self, f'layer{stage + 1}', nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
        steps = []
        for out_channels in self.UP_CHANNELS:
            steps += self.step_up(channels, out_channels)
            channels = out_channels
        self.deconv_layers = nn.Sequential(*steps)
        self.add_heads(heads, channels, head_conv)

    def step_up(self, in_channels: int, out_channels: int) -> List[nn.Module]:
        """Build the layers that double the size: [N, in_channels, h, w] -> [N, out_channels, 2h, 2w]."""
        up = nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1, bias=False)
        nn.init.normal_(up.weight, std=0.001)
        return [up, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.deconv_layers(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
