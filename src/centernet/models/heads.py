"""The pieces that every CenterNet network ends with: heads, and up-sampling that starts out bilinear."""

from torch import nn

from ..errors import ArchitectureError

#: log odds of 0.1: a fresh heat map starts with few objects (RetinaNet, section 4.1, as used by CenterNet)
HEATMAP_BIAS = -2.19


def make_head(name, in_channels, out_channels, head_conv):
    """One head: features [N, in_channels, h, w] -> [N, out_channels, h, w] (Objects as Points, section 4).

    Args:
        name: a name with ``hm`` in it is a heat map, whose bias starts at :data:`HEATMAP_BIAS`.
        head_conv: channels between a 3x3 and a 1x1 convolution, or 0 for the 1x1 convolution alone.
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


def add_heads(module, make, heads):
    """Register ``make(name, channels)`` on ``module`` under each head's name.

    Raises:
        ArchitectureError: the network already has something of that name.
    """
    for name, channels in heads.items():
        if hasattr(module, name):
            raise ArchitectureError(
                f'{name!r} cannot be the name of a head: the network has a part of that name'
            )
        module.add_module(name, make(name, channels))


def bilinear_upsampling(channels, factor):
    """A per-channel transposed convolution that enlarges by ``factor`` and starts out as bilinear
    interpolation."""
    up = nn.ConvTranspose2d(
        channels, channels, 2 * factor, stride=factor, padding=factor // 2, groups=channels, bias=False
    )
    fill_bilinear(up)
    return up


def fill_bilinear(conv):
    """Set the weights of a transposed convolution with as many inputs as outputs per group to bilinear
    interpolation.

    Channel i of the output depends on channel i of the input alone.
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
