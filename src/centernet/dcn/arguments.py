"""The arguments of a deformable convolution, checked once for every implementation."""

from typing import NamedTuple, Tuple


class Shape(NamedTuple):
    """The sizes that a deformable convolution works with."""

    batch: int
    in_channels: int
    height: int
    width: int
    out_channels: int
    kernel: Tuple[int, int]
    stride: Tuple[int, int]
    padding: Tuple[int, int]
    dilation: Tuple[int, int]
    groups: int
    deformable_groups: int
    out_height: int
    out_width: int


def pair(value, name):
    """``value`` as two ints, (vertical, horizontal); ``name`` is used in the error."""
    if isinstance(value, int):
        return value, value
    if len(value) != 2:
        raise ValueError('{} is one int or two (vertical, horizontal), not {}'.format(name, tuple(value)))
    return int(value[0]), int(value[1])


def check_arguments(input, offset, mask, weight, bias, stride, padding, dilation, groups, deformable_groups):
    """Check shapes, dtypes and devices against each other.

    Args: as in :func:`centernet.dcn.deform_conv2d`.

    Returns:
        Shape

    Raises:
        ValueError: names the argument and the two shapes (or values) that disagree.
        TypeError: dtypes or devices disagree.
    """
    stride, padding, dilation = pair(stride, 'stride'), pair(padding, 'padding'), pair(dilation, 'dilation')
    for name, values, least in (('stride', stride, 1), ('padding', padding, 0), ('dilation', dilation, 1)):
        if min(values) < least:
            raise ValueError('{} is {}, and must be at least {}'.format(name, values, least))
    for name, value in (('groups', groups), ('deformable_groups', deformable_groups)):
        if value < 1:
            raise ValueError('{} is {}, and must be at least 1'.format(name, value))
    for name, tensor in (('input', input), ('offset', offset), ('mask', mask), ('weight', weight)):
        if tensor.dim() != 4:
            raise ValueError('{} has shape {}, and must have 4 dimensions'.format(name, tuple(tensor.shape)))

    batch, in_channels, height, width = input.shape
    out_channels, group_channels, kernel_height, kernel_width = weight.shape
    if in_channels != group_channels * groups:
        raise ValueError('weight has shape {} for {} group(s), so input must have {} channels; its shape is {}'.format(
            tuple(weight.shape), groups, group_channels * groups, tuple(input.shape)))
    if out_channels % groups:
        raise ValueError("weight's {} output channels cannot be divided into {} groups".format(out_channels, groups))
    if in_channels % deformable_groups:
        raise ValueError("input's {} channels cannot be divided into {} deformable groups".format(
            in_channels, deformable_groups))
    out_height = (height + 2 * padding[0] - dilation[0] * (kernel_height - 1) - 1) // stride[0] + 1
    out_width = (width + 2 * padding[1] - dilation[1] * (kernel_width - 1) - 1) // stride[1] + 1
    if out_height < 1 or out_width < 1:
        raise ValueError('input has shape {}, smaller than the dilated kernel of weight {}'.format(
            tuple(input.shape), tuple(weight.shape)))
    taps = kernel_height * kernel_width
    for name, tensor, channels in (('offset', offset, 2 * deformable_groups * taps),
                                   ('mask', mask, deformable_groups * taps)):
        expected = (batch, channels, out_height, out_width)
        if tuple(tensor.shape) != expected:
            raise ValueError('{} has shape {}, and must have {} for input {} and weight {}'.format(
                name, tuple(tensor.shape), expected, tuple(input.shape), tuple(weight.shape)))
    if bias is not None and tuple(bias.shape) != (out_channels,):
        raise ValueError('bias has shape {}, and must have {} for weight {}'.format(
            tuple(bias.shape), (out_channels,), tuple(weight.shape)))
    for name, tensor in (('offset', offset), ('mask', mask), ('weight', weight), ('bias', bias)):
        if tensor is None:
            continue
        if tensor.dtype != input.dtype:
            raise TypeError('{} is {}, and input is {}'.format(name, tensor.dtype, input.dtype))
        if tensor.device != input.device:
            raise TypeError('{} is on {}, and input is on {}'.format(name, tensor.device, input.device))
    return Shape(batch, in_channels, height, width, out_channels, (kernel_height, kernel_width), stride, padding,
                 dilation, groups, deformable_groups, out_height, out_width)
