"""Deformable convolution v2: the module, the function, and the pure-torch reference."""

from .functional import deform_conv2d
from .module import DCN

__all__ = ['DCN', 'deform_conv2d']
