"""The reference against torchvision, a slow loop, and finite differences."""

import math

import pytest
import torch

from centernet.kernels.arguments import check_arguments
from centernet.kernels.reference import deform_conv2d_reference

try:
    from torchvision.ops import deform_conv2d as torchvision_deform_conv2d
except (ImportError, RuntimeError):  # RuntimeError: a torchvision that does not fit this torch
    torchvision_deform_conv2d = None

needs_torchvision = pytest.mark.skipif(
    torchvision_deform_conv2d is None,
    reason='needs torchvision with deform_conv2d; ".ci/run oracle" installs it',
)


def deform_conv2d(
    input, offset, mask, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, deformable_groups=1
):
    """The public function with the reference implementation."""
    shape = check_arguments(
        input, offset, mask, weight, bias, stride, padding, dilation, groups, deformable_groups
    )
    return deform_conv2d_reference(input, offset, mask, weight, bias, shape)


CASES = [
    # batch, in, out, height, width, kernel, stride, padding, dilation, groups, deformable_groups
    (2, 4, 6, 7, 9, (3, 3), (1, 1), (1, 1), (1, 1), 1, 1),
    (1, 8, 4, 10, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2, 4),
    (3, 6, 6, 5, 5, (1, 1), (1, 2), (2, 1), (1, 1), 3, 2),
    (1, 2, 3, 4, 8, (2, 5), (1, 3), (0, 4), (2, 1), 1, 2),
    (2, 4, 4, 1, 1, (3, 3), (1, 1), (1, 1), (1, 1), 4, 4),
]

#: small, because finite differences need two forward passes per value
SMALL_CASES = [
    (1, 2, 2, 3, 4, (3, 3), (1, 1), (1, 1), (1, 1), 1, 1),
    (2, 4, 2, 5, 4, (3, 2), (2, 2), (1, 0), (1, 2), 2, 4),
    (2, 3, 3, 3, 3, (1, 1), (1, 2), (1, 0), (1, 1), 3, 1),
]


def out_size(size, kernel, stride, padding, dilation):
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def make(case, dtype=torch.float64, seed=0):
    """Return tensors and options; offsets reach outside, and a third of the positions are on the grid."""
    (
        batch,
        channels,
        out_channels,
        height,
        width,
        kernel,
        stride,
        padding,
        dilation,
        groups,
        deformable_groups,
    ) = case
    torch.manual_seed(seed)
    taps = kernel[0] * kernel[1]
    size = [out_size(*args) for args in zip((height, width), kernel, stride, padding, dilation)]
    offset = torch.randn(batch, 2 * deformable_groups * taps, *size, dtype=dtype) * 3
    offset = torch.where(torch.rand_like(offset) < 1 / 3, offset.round(), offset)
    tensors = [
        torch.randn(batch, channels, height, width, dtype=dtype),
        offset,
        torch.rand(batch, deformable_groups * taps, *size, dtype=dtype),
        torch.randn(out_channels, channels // groups, *kernel, dtype=dtype),
        torch.randn(out_channels, dtype=dtype),
    ]
    options = dict(
        stride=stride, padding=padding, dilation=dilation, groups=groups, deformable_groups=deformable_groups
    )
    return [tensor.requires_grad_() for tensor in tensors], options


def slow(input, offset, mask, weight, bias, stride, padding, dilation, groups, deformable_groups):
    """The definition, pixel by pixel."""
    batch, channels, height, width = input.shape
    out_channels, per_group, kernel_height, kernel_width = weight.shape
    taps = kernel_height * kernel_width
    output = torch.zeros(batch, out_channels, *offset.shape[2:], dtype=input.dtype)

    def sample(n, channel, y, x):
        value = 0.0
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                if 0 <= row < height and 0 <= column < width:
                    value += (
                        input[n, channel, row, column].item() * (1 - abs(y - row)) * (1 - abs(x - column))
                    )
        return value

    for n in range(batch):
        for out in range(out_channels):
            for i in range(offset.shape[2]):
                for j in range(offset.shape[3]):
                    total = bias[out].item()
                    for inner in range(per_group):
                        channel = out // (out_channels // groups) * per_group + inner
                        first = channel // (channels // deformable_groups) * taps
                        for tap in range(taps):
                            dy, dx = offset[n, 2 * (first + tap) : 2 * (first + tap) + 2, i, j].tolist()
                            row, column = divmod(tap, kernel_width)
                            y = i * stride[0] - padding[0] + row * dilation[0] + dy
                            x = j * stride[1] - padding[1] + column * dilation[1] + dx
                            total += (
                                weight[out, inner, row, column] * mask[n, first + tap, i, j]
                            ).item() * sample(n, channel, y, x)
                    output[n, out, i, j] = total
    return output


@pytest.mark.parametrize('case', CASES)
def test_is_the_definition(case):
    tensors, options = make(case)
    with torch.no_grad():
        assert torch.allclose(
            deform_conv2d(*tensors, **options), slow(*tensors, **options), rtol=0, atol=1e-12
        )


@needs_torchvision
@pytest.mark.parametrize('case', CASES)
def test_equals_torchvision_forward_and_backward(case):
    tensors, options = make(case)
    input, offset, mask, weight, bias = tensors
    ours = deform_conv2d(*tensors, **options)
    theirs = torchvision_deform_conv2d(
        input, offset, weight, bias, options['stride'], options['padding'], options['dilation'], mask
    )
    assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-12)
    towards = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad(ours, tensors, towards), torch.autograd.grad(theirs, tensors, towards)
    ):
        assert torch.allclose(mine, other, rtol=1e-10, atol=1e-12)


# Offsets that put the only tap of a 1x1 kernel exactly on or between pixels and borders of a 4x4 image.
BORDER = [-2.0, -1.5, -1.0, -0.5, 0.0, 1.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 1e9, -1e9]


def one_place(y, x):
    torch.manual_seed(1)
    tensors = [
        torch.randn(1, 1, 4, 4, dtype=torch.float64),
        torch.tensor([y, x], dtype=torch.float64).view(1, 2, 1, 1),
        torch.full((1, 1, 1, 1), 0.75, dtype=torch.float64),
        torch.ones(1, 1, 1, 1, dtype=torch.float64),
    ]
    return [tensor.requires_grad_() for tensor in tensors], dict(stride=4)


@needs_torchvision
@pytest.mark.parametrize('y', BORDER)
def test_equals_torchvision_on_the_border(y):
    for x in BORDER:
        (input, offset, mask, weight), options = one_place(y, x)
        ours = deform_conv2d(input, offset, mask, weight, **options)
        theirs = torchvision_deform_conv2d(input, offset, weight, mask=mask, **options)
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-14), (y, x)
        tensors = (input, offset, mask, weight)
        for mine, other in zip(
            torch.autograd.grad(ours.sum(), tensors), torch.autograd.grad(theirs.sum(), tensors)
        ):
            assert torch.allclose(mine, other, rtol=0, atol=1e-14), (y, x)


@pytest.mark.parametrize('y', BORDER)
def test_places_outside_the_image_are_zero(y):
    for x in BORDER:
        (input, offset, mask, weight), options = one_place(y, x)
        value = deform_conv2d(input, offset, mask, weight, **options).item()
        reachable = -1 < y < 4 and -1 < x < 4
        assert (value != 0) == reachable, (y, x)


@pytest.mark.parametrize('y', [float('nan'), float('inf'), -float('inf'), 1e300])
def test_a_position_that_is_not_finite_is_outside(y):
    tensors, options = one_place(y, 1.0)
    value = deform_conv2d(*tensors, **options)
    assert value.item() == 0
    for gradient in torch.autograd.grad(value.sum(), tensors):
        assert (gradient == 0).all()


@pytest.mark.parametrize('case', SMALL_CASES)
def test_gradients_are_those_of_finite_differences(case):
    tensors, options = make(case)
    tensors = [tensor.detach() for tensor in tensors]
    # bilinear interpolation has no derivative on the pixel grid
    tensors[1] = tensors[1] * 0.2
    fraction = tensors[1] - tensors[1].floor()
    tensors[1] = tensors[1].floor() + 0.1 + 0.8 * fraction
    tensors = [tensor.requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(
        lambda *args: deform_conv2d(*args, **options), tensors, eps=1e-6, atol=1e-6
    )


def test_without_offsets_is_a_convolution():
    tensors, options = make(CASES[1], torch.float32)
    input, offset, mask, weight, bias = tensors
    options.pop('deformable_groups')
    found = deform_conv2d(
        input, torch.zeros_like(offset), torch.ones_like(mask), weight, bias, deformable_groups=4, **options
    )
    expected = torch.nn.functional.conv2d(input, weight, bias, **options)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_strided_and_empty_inputs():
    tensors, options = make(CASES[0], torch.float32)
    strided = [
        tensor.detach().transpose(0, -1).contiguous().transpose(0, -1) for tensor in tensors[:4]
    ] + tensors[4:]
    assert not strided[0].is_contiguous()
    assert torch.equal(deform_conv2d(*strided, **options), deform_conv2d(*tensors, **options))
    empty = [tensor.detach()[:0] for tensor in tensors[:3]] + tensors[3:]
    assert deform_conv2d(*empty, **options).shape == (0, 6, 7, 9)
