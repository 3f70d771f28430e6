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

    Args: as in :func:`centernet.kernels.deform_conv2d`.

    Raises:
        ValueError: shapes or values are inconsistent; the message names the argument and both of them.
        TypeError: dtypes or devices differ.
    """
    stride, padding, dilation = pair(stride, 'stride'), pair(padding, 'padding'), pair(dilation, 'dilation')
    for name, values, least in (
        ('stride', stride, 1),
        ('padding', padding, 0),
        ('dilation', dilation, 1),
        ('groups', (groups,), 1),
        ('deformable_groups', (deformable_groups,), 1),
    ):
        if min(values) < least:
            raise ValueError(f'{name} is {values}, but must be at least {least}')
    for name, tensor in (('input', input), ('weight', weight)):
        if tensor.dim() != 4:
            raise ValueError(f'{name} has shape {tuple(tensor.shape)}, but must have 4 dimensions')
        if 0 in tensor.shape[name == 'input' :]:
            raise ValueError(f'{name} is empty: its shape is {tuple(tensor.shape)}')

    batch, in_channels = input.shape[:2]
    out_channels, kernel = weight.shape[0], tuple(weight.shape[2:])
    out_size = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(input.shape[2:], kernel, stride, padding, dilation)
    )
    given = f'for input {tuple(input.shape)} and weight {tuple(weight.shape)}'
    if in_channels != weight.shape[1] * groups or out_channels % groups or in_channels % deformable_groups:
        raise ValueError(f'{groups} groups and {deformable_groups} deformable groups do not fit {given}')
    if min(out_size) < 1:
        raise ValueError(f'the image is smaller than the dilated kernel {given}')
    planes = deformable_groups * kernel[0] * kernel[1]
    for name, tensor, expected in (
        ('offset', offset, (batch, 2 * planes, *out_size)),
        ('mask', mask, (batch, planes, *out_size)),
        ('weight', weight, tuple(weight.shape)),
        ('bias', bias, (out_channels,)),
    ):
        if tensor is None:
            continue
        if tuple(tensor.shape) != expected:
            raise ValueError(f'{name} has shape {tuple(tensor.shape)}, but must have {expected} {given}')
        for what in ('dtype', 'device'):
            if getattr(tensor, what) != getattr(input, what):
                raise TypeError(f'{name} is {getattr(tensor, what)}, but input is {getattr(input, what)}')
    return Shape(
        *input.shape, out_channels, kernel, stride, padding, dilation, groups, deformable_groups, *out_size
    )
