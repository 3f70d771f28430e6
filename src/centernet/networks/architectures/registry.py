"""The table of architectures, and :func:`create_model`."""

import difflib
import importlib
import re
from typing import TYPE_CHECKING, Any, Dict, NamedTuple, Optional

from ...system.errors import ArchitectureError

if TYPE_CHECKING:  # the names of the architectures must not cost the import of torch
    from torch import nn


class Architecture(NamedTuple):
    """How to build an architecture.

    Attributes:
        module: the module of this package that defines it; imported when the architecture is built.
        builder: a class in it, ``builder(heads, head_conv, **options)``.
        options: its further arguments.
        head_conv: channels between the features and a head's output, as in the published checkpoints.
        divisor: the input's height and width must be multiples of it.
        landmark: a key of the state dict that is in every network of the family.
    """

    module: str
    builder: str
    options: Dict[str, Any]
    head_conv: int
    divisor: int
    landmark: str


TABLE = {
    'dla_34': Architecture('dla', 'DLASeg', {}, 256, 32, 'ida_up.proj_1.conv.weight'),
    # the network of the built-in sample: dla_34 node for node, with a quarter of every width
    'dla_tiny': Architecture(
        'dla', 'DLASeg', {'channels': (4, 8, 16, 32, 64, 128)}, 64, 32, 'ida_up.proj_1.conv.weight'
    ),
    'dlav0_34': Architecture('dlav0', 'DLAV0', {}, 256, 32, 'dla_up.ida_0.proj_1.0.weight'),
    'hourglass': Architecture('hourglass', 'HourglassNet', {}, 256, 128, 'pre.0.conv.weight'),
}
for _depth in (18, 34, 50, 101, 152):
    TABLE[f'res_{_depth}'] = Architecture('resnet', 'ResNet', {'depth': _depth}, 64, 32, 'conv1.weight')
    TABLE[f'resdcn_{_depth}'] = Architecture(
        'resnet_dcn', 'ResNetDCN', {'depth': _depth}, 64, 32, 'deconv_layers.0.conv_offset_mask.weight'
    )

#: names of all architectures, sorted
ARCHITECTURES = tuple(sorted(TABLE))


def create_model(arch: str, heads: Dict[str, int], head_conv: Optional[int] = None) -> 'nn.Module':
    """Build a network with untrained weights; nothing is downloaded.

    Args:
        arch: one of :data:`ARCHITECTURES`.
        heads: channels by head name, such as ``{'hm': 80, 'wh': 2, 'reg': 2}``; the output has the same
            order.
        head_conv: channels of the 3x3 convolution in each head; 0 for heads of a single 1x1 convolution; by
            default those of the published checkpoints.

    Returns:
        The network, in training mode.

    Raises:
        ArchitectureError: the architecture is unknown, or heads are invalid.
    """
    entry = TABLE[known_name(arch)]
    head_conv = entry.head_conv if head_conv is None else head_conv
    named = isinstance(heads, dict) and all(isinstance(name, str) and name.isidentifier() for name in heads)
    if not (heads and named and all(type(channels) is int and channels > 0 for channels in heads.values())):
        raise ArchitectureError(f"heads are channels by name, such as {{'hm': 80, 'wh': 2}}, not {heads!r}")
    module = importlib.import_module('.' + entry.module, __package__)
    return getattr(module, entry.builder)(dict(heads), head_conv, **entry.options)


def divisor(arch: str) -> int:
    """Return the number that the input's height and width must be multiples of.

    Raises:
        ArchitectureError: the architecture is unknown.
    """
    return TABLE[known_name(arch)].divisor


def known_name(arch: str) -> str:
    """Return the name of an architecture that may be spelled in another way, as ``resnet18`` or ``dla34``.

    Raises:
        ArchitectureError: the architecture is unknown.
    """
    known = {_plain(name): name for name in ARCHITECTURES}
    known.update(hourglass104='hourglass', largehourglass='hourglass')  # in other repositories
    plain = _plain(arch)
    if plain in known:
        return known[plain]
    near = difflib.get_close_matches(plain, sorted(known), n=1, cutoff=0.5)
    guess = f': did you mean {known[near[0]]}?' if near else ''
    raise ArchitectureError(f'unknown architecture {arch!r}{guess}; known: {", ".join(ARCHITECTURES)}')


def _plain(name):
    """Return ``name`` in lower case without punctuation, with ``resnet`` abbreviated to ``res``."""
    return re.sub('[^a-z0-9]', '', name.lower()).replace('resnet', 'res')
