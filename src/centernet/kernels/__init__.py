"""Deformable convolution v2, and the compiled layers of fused networks; README.md says how they work."""

from .functional import deform_conv2d
from .module import DCN

__all__ = ['DCN', 'deform_conv2d']
