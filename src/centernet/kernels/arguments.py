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
        ValueError: shapes or values are inconsistent; the message names them.
        TypeError: dtypes or devices differ.
    """
    stride, padding, dilation = pair(stride, 'stride'), pair(padding, 'padding'), pair(dilation, 'dilation')
    if min(*stride, *dilation, groups, deformable_groups) < 1 or min(padding) < 0:
        raise ValueError(
            f'stride {stride}, dilation {dilation}, {groups} groups and {deformable_groups} deformable groups'
            f' must be at least 1, and padding {padding} at least 0'
        )
    given = f'for input {tuple(input.shape)} and weight {tuple(weight.shape)}'
    if input.dim() != 4 or weight.dim() != 4 or 0 in (*input.shape[1:], *weight.shape):
        raise ValueError(f'tensors must have 4 dimensions, none but the batch of size 0 {given}')
    batch, in_channels = input.shape[:2]
    out_channels, kernel = weight.shape[0], tuple(weight.shape[2:])
    out_size = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(input.shape[2:], kernel, stride, padding, dilation)
    )
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
