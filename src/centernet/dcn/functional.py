"""Deformable convolution as a function: the compiled operator, or else the reference.

``CENTERNET_DCN=compiled`` or ``CENTERNET_DCN=reference`` in the environment forces one.
"""

import os
import warnings

import torch

from ..errors import OptionError
from . import compiled
from .arguments import check_arguments
from .reference import deform_conv2d_reference

CHOICES = ('compiled', 'reference')
_told = set()


def deform_conv2d(
    input, offset, mask, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, deformable_groups=1
):
    """Modulated deformable convolution, DCNv2 (Zhu et al., "Deformable ConvNets v2: More Deformable, Better
    Results", 2018).

    Tap (i, j) of output pixel (y, x) reads the input at
    ``(y * stride - padding + i * dilation + dy, x * stride - padding + j * dilation + dx)``, interpolated
    bilinearly; what lies outside the image is 0 (so is a place that is infinite or not a number). The value
    is multiplied by the mask, and a convolution with ``weight`` follows. Numerically this is
    ``torchvision.ops.deform_conv2d``.

    Args:
        input: [N, C, H, W].
        offset: [N, 2 * deformable_groups * taps, Ho, Wo], in pixels; per deformable group and tap (row-major)
            dy, then dx.
        mask: [N, deformable_groups * taps, Ho, Wo], the factor of each tap (after the sigmoid).
        weight: [Cout, C / groups, kh, kw].
        bias: [Cout] or None.
        stride, padding, dilation: an int, or two (vertical, horizontal).
        groups: of the convolution.
        deformable_groups: how many groups of input channels have their own offsets.

    Returns:
        [N, Cout, Ho, Wo]. All tensors are of one floating dtype on one device.

    Raises:
        ValueError, TypeError: an argument does not fit another; the message names both.
        OptionError: CENTERNET_DCN forces the compiled operator, which cannot take this; or it is neither
            word.
    """
    shape = check_arguments(
        input, offset, mask, weight, bias, stride, padding, dilation, groups, deformable_groups
    )
    return choose_implementation(input)(input, offset, mask, weight, bias, shape)


def choose_implementation(input):
    """The function that computes a deformable convolution of ``input``: of the compiled operator, or of the
    reference.

    A graph that is being traced gets the reference, because only torch's own operations can be recorded in
    it.

    Raises:
        OptionError: as in :func:`deform_conv2d`.
    """
    forced = os.environ.get('CENTERNET_DCN', '')
    if forced not in ('', *CHOICES):
        raise OptionError("CENTERNET_DCN is '{}'; it can be {} or {}".format(forced, *CHOICES))
    if forced == 'reference' or torch._C._get_tracing_state() is not None:
        return deform_conv2d_reference
    reason = compiled.unsupported(input)
    if reason is None:
        return compiled.deform_conv2d_compiled
    if forced == 'compiled':
        raise OptionError(
            f'CENTERNET_DCN=compiled, and the compiled deformable convolution cannot be used: {reason}'
        )
    if reason not in _told:
        _told.add(reason)
        warnings.warn(
            'deformable convolution falls back to plain torch operations, which are slower than the compiled'
            ' operator: ' + reason,
            RuntimeWarning,
            stacklevel=3,
        )
    return deform_conv2d_reference
