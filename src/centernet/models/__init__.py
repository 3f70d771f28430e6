"""The networks of CenterNet: an image batch in, one dictionary of head maps out.

Every network takes a float32 batch [N, 3, H, W], H and W multiples of 32 (of 128 for ``hourglass``), and
returns ``{head name: float32 [N, channels, H / 4, W / 4]}``, raw: no sigmoid on the heat map. Parameters have
the names and shapes of the published checkpoints. Nothing is downloaded to build a network, and a module is
imported only when one of its architectures is built, so those without deformable convolutions never need that
operator.
"""

from .registry import ARCHITECTURES, create_model, default_head_conv, divisor

__all__ = ['ARCHITECTURES', 'create_model', 'default_head_conv', 'divisor']
