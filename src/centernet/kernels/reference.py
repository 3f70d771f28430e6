"""Deformable convolution v2 in plain torch operations, with autograd: the reference, and the fallback.

The image becomes a table with one row of channels per pixel. Every tap of every output pixel is then a
weighted sum of four rows (bilinear interpolation times the mask), and the convolution is one matrix product
with these sums.
"""

from typing import Optional

import torch
from torch import Tensor

from ..system import compat
from .arguments import Shape


def deform_conv2d_reference(
    input: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Optional[Tensor], shape: Shape
) -> Tensor:
    """Compute a modulated deformable convolution (Zhu et al., "Deformable ConvNets v2", section 3.2).

    Args: as in :func:`centernet.kernels.deform_conv2d`; ``shape`` is from ``check_arguments``.

    Returns:
        [N, out_channels, Ho, Wo], dtype of the input; differentiable in all five tensors.
    """
    if shape.batch == 0:
        # with gradients, which are zero
        nothing = sum(each.sum() for each in (input, offset, mask, weight, bias) if each is not None) * 0
        return input.new_zeros((0, shape.out_channels, shape.out_height, shape.out_width)) + nothing
    if input.dtype not in (torch.float32, torch.float64):
        # as the compiled operator does: float16 has no fractions beyond 2048, and numbers up to 65504
        tensors = [None if each is None else each.float() for each in (input, offset, mask, weight, bias)]
        return deform_conv2d_reference(*tensors, shape).to(input.dtype)
    rows, row_weights = _bilinear(offset, mask, shape)
    columns = compat.weighted_row_sums(_pixel_table(input, shape), rows, row_weights)
    pixels = shape.batch * shape.out_height * shape.out_width
    output = _multiply(columns.view(pixels, shape.deformable_groups, -1, columns.shape[1]), weight, shape)
    if bias is not None:
        output = output + bias
    return output.view(shape.batch, shape.out_height, shape.out_width, -1).permute(0, 3, 1, 2).contiguous()


def _pixel_table(input, shape):
    """Return the image as rows of channels: [N * deformable_groups * H * W, C / deformable_groups]."""
    split = input.contiguous().view(shape.batch, shape.deformable_groups, -1, shape.height, shape.width)
    return split.permute(0, 1, 3, 4, 2).contiguous().view(-1, shape.in_channels // shape.deformable_groups)


def _bilinear(offset, mask, shape):
    """Return the four rows of the table for every tap, and their weights.

    Returns:
        Two tensors [N * Ho * Wo * deformable_groups * taps, 4]: int64 rows, and their weights, which are 0
        for corners outside the image.
    """
    groups, size = shape.deformable_groups, (shape.out_height, shape.out_width)
    taps = shape.kernel[0] * shape.kernel[1]
    # to [N, Ho, Wo, deformable_groups, taps, 2] and [N, Ho, Wo, deformable_groups, taps]
    offset = offset.contiguous().view(shape.batch, groups, taps, 2, *size).permute(0, 4, 5, 1, 2, 3)
    mask = mask.contiguous().view(shape.batch, groups, taps, *size).permute(0, 3, 4, 1, 2)

    def grid(axis):
        """Return the undeformed taps' positions along an axis.

        For 0 (y) [1, Ho, 1, 1, taps], for 1 (x) [1, 1, Wo, 1, taps].
        """
        start = torch.arange(size[axis], dtype=offset.dtype, device=offset.device) * shape.stride[axis]
        step = [divmod(tap, shape.kernel[1])[axis] * shape.dilation[axis] for tap in range(taps)]
        places = (start - shape.padding[axis]).view(-1, 1) + offset.new_tensor(step)
        return places.view((1, size[0], 1, 1, taps) if axis == 0 else (1, 1, size[1], 1, taps))

    def corners(axis, extent):
        """Return the two nearest indices along an axis as [(index, weight), ...]; weights are 0 outside."""
        place = offset[..., axis] + grid(axis)
        # Move positions that are out of reach, infinite or NaN to one whose corners are both outside: an
        # index must be finite.
        reachable = (place > -2) & (place < extent + 1)
        place = torch.where(reachable, place, torch.full_like(place, -2))
        low = torch.floor(place.detach())
        fraction = place - low
        found = []
        for index, share in ((low, 1 - fraction), (low + 1, fraction)):
            inside = (index >= 0) & (index < extent)
            found.append((index.clamp(0, extent - 1).long(), share * inside.to(share.dtype)))
        return found

    ys, xs = corners(0, shape.height), corners(1, shape.width)
    images = torch.arange(shape.batch * groups, device=offset.device).view(shape.batch, 1, 1, groups, 1)
    rows = torch.stack([(images * shape.height + y) * shape.width + x for y, _ in ys for x, _ in xs], -1)
    weights = torch.stack([y_share * x_share * mask for _, y_share in ys for _, x_share in xs], -1)
    return rows.view(-1, 4), weights.view(-1, 4)


def _multiply(columns, weight, shape):
    """Multiply [pixels, deformable_groups, taps, C / deformable_groups] by the weight: [pixels, Cout]."""
    pixels, deformable_groups, taps, channels = columns.shape
    if shape.groups == 1:
        # Permute the weight, not the columns: it is smaller.
        weight = weight.contiguous().view(-1, deformable_groups, channels, taps).permute(1, 3, 2, 0)
        return columns.reshape(pixels, -1).mm(weight.reshape(-1, shape.out_channels))
    columns = columns.permute(0, 1, 3, 2).reshape(pixels, shape.groups, -1).transpose(0, 1)
    weight = weight.reshape(shape.groups, shape.out_channels // shape.groups, -1).transpose(1, 2)
    return columns.bmm(weight).transpose(0, 1).reshape(pixels, shape.out_channels)
