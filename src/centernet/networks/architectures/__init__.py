"""The networks of CenterNet: a batch of images in, a dictionary of head maps out.

Every network takes a float32 batch [N, 3, H, W], with H and W multiples of 32 (of 128 for ``hourglass``), and
returns ``{head name: float32 [N, channels, H / 4, W / 4]}``, without a sigmoid on the heat map. Parameters
have the names and shapes of the published checkpoints. Building a network downloads nothing and imports only
its own module, so networks without deformable convolutions do not need that operator.
"""

from .registry import ARCHITECTURES, create_model, divisor

__all__ = ['ARCHITECTURES', 'create_model', 'divisor']
