"""Layers of centernet.kernels.layers with random weights, and what torch gives for them in float64."""

from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F

from centernet.kernels import layers
from centernet.kernels.arguments import check_arguments
from centernet.kernels.reference import deform_conv2d_reference

try:
    from torchvision.ops import deform_conv2d as torchvision_deform_conv2d
except (ImportError, RuntimeError):  # RuntimeError: torchvision for another torch
    torchvision_deform_conv2d = None

INSTRUCTION_SETS = ('plain', 'avx2', 'avx512')


class Case(NamedTuple):
    """A layer and its input; ``kind`` is a key of MAKERS."""

    kind: str
    batch: int = 1
    channels: int = 3
    outputs: int = 4
    size: Tuple[int, int] = (9, 6)
    kernel: Tuple[int, int] = (3, 3)
    stride: int = 1
    padding: Tuple[int, int] = (1, 1)
    residual: bool = False
    relu: bool = False
    dilation: int = 1
    groups: int = 1
    reach: float = 2.0  # of offsets, in pixels
    bf16: bool = False


class Problem(NamedTuple):
    """``layer(*inputs)`` should give ``expected`` [N, H, W, C] in float64.

    ``magnitude`` is the same of all numbers' absolute values, without ReLU: rounding is relative to it.
    """

    layer: Any
    inputs: List[torch.Tensor]
    expected: torch.Tensor
    magnitude: torch.Tensor


def channels_last(image: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [N, H, W, C], contiguous."""
    return image.permute(0, 2, 3, 1).contiguous()


def to_bfloat16(tensor: torch.Tensor) -> torch.Tensor:
    """The nearest numbers that bfloat16 has, ties to even, as float32; torch 1.0.0 has no such type."""
    bits = tensor.float().contiguous().numpy().view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return torch.from_numpy(rounded.view(np.float32))


def method_of(layer: Any) -> Tuple[bool, bool]:
    """(Winograd, bfloat16): what a layer's weights are packed for."""
    packed = layer.packed if isinstance(layer, layers.DeformableConvolution) else layer.parts[0][0]
    _, winograd, bf16 = packed.numpy()[:3].view(np.int32)
    return bool(winograd), bool(bf16)


def directly() -> Any:
    """A context in which no layer is made for Winograd's method."""
    return mock.patch.object(layers, '_WINOGRAD_LIMIT', 0)


def _apply(
    operation: Callable[..., torch.Tensor],
    image: torch.Tensor,
    weight: torch.Tensor,
    bias: Optional[torch.Tensor],
    rest: Optional[torch.Tensor],
    case: Case,
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return the expected output and its magnitude."""
    doubles = [None if each is None else each.double() for each in (image, weight, bias)]
    rest = 0.0 if rest is None else rest.double()
    expected = operation(*doubles) + rest
    magnitude = operation(*[None if each is None else each.abs() for each in doubles]) + abs(rest)
    return channels_last(F.relu(expected) if case.relu else expected), channels_last(magnitude)


def _with_residual(
    case: Case, image: torch.Tensor, shape: Sequence[int]
) -> Tuple[List[torch.Tensor], Optional[torch.Tensor]]:
    rest = torch.randn(*shape) if case.residual else None
    return [channels_last(each) for each in (image, rest) if each is not None], rest


def _convolution(case: Case) -> Problem:
    image = torch.randn(case.batch, case.channels, *case.size)
    weight, bias = torch.randn(case.outputs, case.channels, *case.kernel), torch.randn(case.outputs)
    layer = layers.Convolution(weight, bias, case.stride, case.padding, case.relu, case.bf16)
    size = layer.out_size(channels_last(image))
    inputs, rest = _with_residual(case, image, (case.batch, case.outputs, *size))
    if method_of(layer) == (False, True):
        image, weight = to_bfloat16(image), to_bfloat16(weight)

    def operation(*tensors: Any) -> torch.Tensor:
        return F.conv2d(*tensors, stride=case.stride, padding=case.padding)

    return Problem(layer, inputs, *_apply(operation, image, weight, bias, rest, case))


def _transposed(case: Case) -> Problem:
    kernel = [case.stride + 2 * padding for padding in case.padding]
    image = torch.randn(case.batch, case.channels, *case.size)
    weight, bias = torch.randn(case.channels, case.outputs, *kernel), torch.randn(case.outputs)
    layer = layers.TransposedConvolution(weight, bias, case.stride, case.padding, case.relu, case.bf16)
    size = [each * case.stride for each in case.size]
    inputs, rest = _with_residual(case, image, (case.batch, case.outputs, *size))
    if method_of(layer) == (False, True):
        image, weight = to_bfloat16(image), to_bfloat16(weight)

    def operation(*tensors: Any) -> torch.Tensor:
        return F.conv_transpose2d(*tensors, stride=case.stride, padding=case.padding)

    return Problem(layer, inputs, *_apply(operation, image, weight, bias, rest, case))


def _spread(case: Case) -> Problem:
    kernel = [case.stride + 2 * padding for padding in case.padding]
    image = torch.randn(case.batch, case.channels, *case.size)
    weight = torch.randn(case.channels, 1, *kernel)
    layer = layers.Spread(weight, case.stride, case.padding, case.relu)
    inputs, rest = _with_residual(
        case, image, (case.batch, case.channels, *[each * case.stride for each in case.size])
    )

    def operation(*tensors: Any) -> torch.Tensor:
        return F.conv_transpose2d(*tensors, stride=case.stride, padding=case.padding, groups=case.channels)

    return Problem(layer, inputs, *_apply(operation, image, weight, None, rest, case))


def _max_pool(case: Case) -> Problem:
    image = torch.randn(case.batch, case.channels, *case.size)
    layer = layers.MaxPool(case.kernel, case.stride, case.padding)
    expected = channels_last(F.max_pool2d(image.double(), case.kernel, case.stride, case.padding))
    return Problem(layer, [channels_last(image)], expected, expected.abs())


def _deformable(case: Case) -> Problem:
    taps, image = case.kernel[0] * case.kernel[1], torch.randn(case.batch, case.channels, *case.size)
    weight, bias = torch.randn(case.outputs, case.channels, *case.kernel), torch.randn(case.outputs)
    layer = layers.DeformableConvolution(
        weight, bias, case.stride, case.padding, case.dilation, case.groups, case.relu, case.bf16
    )
    size = [
        (n + 2 * p - case.dilation * (k - 1) - 1) // case.stride + 1
        for n, k, p in zip(case.size, case.kernel, case.padding)
    ]
    offset = torch.randn(case.batch, 2 * case.groups * taps, *size) * case.reach
    offset = torch.where(torch.rand_like(offset) < 0.2, offset.round(), offset)
    logits = torch.randn(case.batch, case.groups * taps, *size) * 4
    predicted = channels_last(torch.cat([offset, logits], 1))

    def operation(image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        mask = torch.sigmoid(logits.double())
        if torchvision_deform_conv2d:
            return torchvision_deform_conv2d(
                image, offset.double(), weight, bias, case.stride, case.padding, case.dilation, mask
            )
        tensors = (image, offset.double(), mask, weight, bias)
        shape = check_arguments(*tensors, case.stride, case.padding, case.dilation, 1, case.groups)
        return deform_conv2d_reference(*tensors, shape)

    expected = _apply(operation, image, weight, bias, None, case)
    return Problem(layer, [channels_last(image), predicted], *expected)


MAKERS = {
    'convolution': _convolution,
    'transposed': _transposed,
    'spread': _spread,
    'max_pool': _max_pool,
    'deformable': _deformable,
}


def make(case: Case, seed: int = 0) -> Problem:
    """A layer with random weights, random inputs, and what it should give."""
    torch.manual_seed(seed)
    return MAKERS[case.kind](case)


#: Numbers of channels and pixels that fill no vector, tile or block. The second convolution is computed by
#: Winograd's method with every instruction set.
SAMPLES = [
    Case('convolution', 3, 19, 27, (23, 17), (3, 3), 2, (1, 0), residual=True, relu=True),
    Case('convolution', 2, 48, 80, (21, 30), residual=True, relu=True),
    Case('convolution', 2, 3, 16, (40, 29), (7, 7), 1, (3, 3), relu=True),
    Case('convolution', 1, 80, 35, (13, 11), (1, 1), 1, (0, 0)),
    Case('transposed', 3, 27, 19, (9, 14), (4, 4), 2, (1, 1), relu=True),
    Case('spread', 2, 27, 27, (13, 10), (6, 6), 2, (2, 2), residual=True, relu=True),
    Case('max_pool', 3, 19, 19, (23, 18), (3, 3), 2, (1, 1)),
    Case('deformable', 2, 48, 35, (23, 19), relu=True),
    Case('deformable', 3, 130, 80, (17, 13), (3, 2), 2, (1, 0), dilation=2, groups=2),
]


def name_of(case: Case) -> str:
    """A short name for a sample."""
    return '{}-{}x{}-{}to{}'.format(case.kind, *case.kernel, case.channels, case.outputs)
