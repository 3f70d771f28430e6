"""Deformable convolution as a function: the compiled operator if available, otherwise the reference.

The environment variable CENTERNET_DCN forces one: ``compiled`` or ``reference``.
"""

import os
import warnings
from typing import Callable, Optional

import torch
from torch import Tensor

from ..system.errors import OptionError
from . import compiled
from .arguments import Pair, check_arguments
from .reference import deform_conv2d_reference

CHOICES = ('compiled', 'reference')
_told = set()


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Optional[Tensor] = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    deformable_groups: int = 1,
) -> Tensor:
    """Compute a modulated deformable convolution (DCNv2).

    Zhu et al., "Deformable ConvNets v2: More Deformable, Better Results", 2018; numerically the same as
    ``torchvision.ops.deform_conv2d``. Tap (i, j) of output pixel (y, x) samples the input bilinearly at
    ``(y * stride - padding + i * dilation + dy, x * stride - padding + j * dilation + dx)``. Pixels outside
    the image are 0, and so are samples at infinite or NaN positions. Samples are multiplied by the mask and
    convolved with ``weight``.

    Args:
        input: [N, C, H, W].
        offset: [N, 2 * deformable_groups * taps, Ho, Wo], in pixels; per deformable group and tap (row-major)
            dy, then dx.
        mask: [N, deformable_groups * taps, Ho, Wo], the factor of each tap, after the sigmoid.
        weight: [Cout, C / groups, kh, kw].
        bias: [Cout] or None.
        stride, padding, dilation: an int, or two (vertical, horizontal).
        groups: of the convolution.
        deformable_groups: number of groups of input channels with their own offsets.

    All tensors must have the same floating dtype and device; only N may be 0. float16 is multiplied and
    summed in float32; its gradients are computed in float32 throughout.

    Returns:
        [N, Cout, Ho, Wo].

    Raises:
        ValueError, TypeError: arguments are inconsistent; the message names them.
        OptionError: CENTERNET_DCN is invalid, or forces the compiled operator, which does not support this
            input.
    """
    shape = check_arguments(
        input, offset, mask, weight, bias, stride, padding, dilation, groups, deformable_groups
    )
    return choose_implementation(input)(input, offset, mask, weight, bias, shape)


def choose_implementation(input: Tensor) -> Callable[..., Tensor]:
    """Return the function to use for ``input``: the compiled operator or the reference.

    While tracing it is the reference, because only torch's own operations can be recorded.

    Raises:
        OptionError: as in :func:`deform_conv2d`.
    """
    forced = os.environ.get('CENTERNET_DCN', '')
    if forced not in ('', *CHOICES):
        raise OptionError("CENTERNET_DCN is '{}'; it must be {} or {}".format(forced, *CHOICES))
    if forced == 'reference' or torch._C._get_tracing_state() is not None:
        return deform_conv2d_reference
    reason = compiled.unsupported(input)
    if reason is None:
        return compiled.deform_conv2d_compiled
    if forced == 'compiled':
        raise OptionError(f'CENTERNET_DCN=compiled, but the operator is not compiled: {reason}')
    if reason not in _told:
        _told.add(reason)
        warnings.warn(
            f'deformable convolution in plain torch, which is slow: {reason}', RuntimeWarning, stacklevel=3
        )
    return deform_conv2d_reference
