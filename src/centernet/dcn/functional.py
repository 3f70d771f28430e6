"""Deformable convolution as a function."""

from .arguments import check_arguments
from .reference import deform_conv2d_reference


def deform_conv2d(input, offset, mask, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, deformable_groups=1):
    """Modulated deformable convolution, DCNv2 (Zhu et al., "Deformable ConvNets v2: More Deformable, Better Results", 2018).

    Tap (i, j) of output pixel (y, x) reads the input at
    ``(y * stride - padding + i * dilation + dy, x * stride - padding + j * dilation + dx)``, interpolated bilinearly; what lies
    outside the image is 0 (so is a place that is infinite or not a number). The value is multiplied by the mask, and a
    convolution with ``weight`` follows. Numerically this is ``torchvision.ops.deform_conv2d``.

    Args:
        input: [N, C, H, W].
        offset: [N, 2 * deformable_groups * taps, Ho, Wo], in pixels; per deformable group and tap (row-major) dy, then dx.
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
    """
    shape = check_arguments(input, offset, mask, weight, bias, stride, padding, dilation, groups, deformable_groups)
    return deform_conv2d_reference(input, offset, mask, weight, bias, shape)
