"""Validation of the arguments of a deformable convolution, shared by all implementations."""

from typing import NamedTuple, Optional, Sequence, Tuple, Union

from torch import Tensor

#: an int, or two (vertical, horizontal)
Pair = Union[int, Sequence[int]]


class Shape(NamedTuple):
    """The sizes of a deformable convolution; pairs are (vertical, horizontal)."""

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


def pair(value: Pair, name: str) -> Tuple[int, int]:
    """Return ``value`` as (vertical, horizontal); the error mentions ``name``."""
    if isinstance(value, int):
        return value, value
    if len(value) != 2:
        raise ValueError(f'{name} must be one int or two (vertical, horizontal), not {tuple(value)}')
    return int(value[0]), int(value[1])


def check_arguments(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    deformable_groups: int,
) -> Shape:
    """Check that shapes, dtypes and devices are consistent.

    Args: as in :func:`centernet.dcn.deform_conv2d`.

    Raises:
        ValueError: shapes or values are inconsistent; the message names the argument and both of them.
        TypeError: dtypes or devices differ.
    """
    stride, padding, dilation = pair(stride, 'stride'), pair(padding, 'padding'), pair(dilation, 'dilation')
    for name, values, least in (('stride', stride, 1), ('padding', padding, 0), ('dilation', dilation, 1)):
        if min(values) < least:
            raise ValueError(f'{name} is {values}, but must be at least {least}')
    for name, value in (('groups', groups), ('deformable_groups', deformable_groups)):
        if value < 1:
            raise ValueError(f'{name} is {value}, but must be at least 1')
    for name, tensor in (('input', input), ('offset', offset), ('mask', mask), ('weight', weight)):
        if tensor.dim() != 4:
            raise ValueError(f'{name} has shape {tuple(tensor.shape)}, but must have 4 dimensions')
    for name, sizes in (('input', input.shape[1:]), ('weight', weight.shape)):
        if 0 in sizes:
            raise ValueError(f'{name} is empty: of its sizes {tuple(sizes)} none may be 0')

    batch, in_channels, height, width = input.shape
    out_channels, group_channels, kernel_height, kernel_width = weight.shape
    if in_channels != group_channels * groups:
        raise ValueError(
            f'weight has shape {tuple(weight.shape)} for {groups} group(s), so input must have'
            f' {group_channels * groups} channels; its shape is {tuple(input.shape)}'
        )
    if out_channels % groups:
        raise ValueError(f"weight's {out_channels} output channels cannot be divided into {groups} groups")
    if in_channels % deformable_groups:
        raise ValueError(
            f"input's {in_channels} channels cannot be divided into {deformable_groups} deformable groups"
        )
    out_height = (height + 2 * padding[0] - dilation[0] * (kernel_height - 1) - 1) // stride[0] + 1
    out_width = (width + 2 * padding[1] - dilation[1] * (kernel_width - 1) - 1) // stride[1] + 1
    if out_height < 1 or out_width < 1:
        raise ValueError(
            f'input has shape {tuple(input.shape)}, smaller than the dilated kernel of weight'
            f' {tuple(weight.shape)}'
        )
    taps = kernel_height * kernel_width
    for name, tensor, channels in (
        ('offset', offset, 2 * deformable_groups * taps),
        ('mask', mask, deformable_groups * taps),
    ):
        expected = (batch, channels, out_height, out_width)
        if tuple(tensor.shape) != expected:
            raise ValueError(
                f'{name} has shape {tuple(tensor.shape)}, but must have {expected} for input'
                f' {tuple(input.shape)} and weight {tuple(weight.shape)}'
            )
    if bias is not None and tuple(bias.shape) != (out_channels,):
        raise ValueError(
            f'bias has shape {tuple(bias.shape)}, but must have {(out_channels,)} for weight'
            f' {tuple(weight.shape)}'
        )
    for name, tensor in (('offset', offset), ('mask', mask), ('weight', weight), ('bias', bias)):
        if tensor is None:
            continue
        if tensor.dtype != input.dtype:
            raise TypeError(f'{name} is {tensor.dtype}, but input is {input.dtype}')
        if tensor.device != input.device:
            raise TypeError(f'{name} is on {tensor.device}, but input is on {input.device}')
    return Shape(
        batch,
        in_channels,
        height,
        width,
        out_channels,
        (kernel_height, kernel_width),
        stride,
        padding,
        dilation,
        groups,
        deformable_groups,
        out_height,
        out_width,
    )
