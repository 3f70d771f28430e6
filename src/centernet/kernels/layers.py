"""The layers of a network that is fused for inference on the CPU, compiled from C++ (csrc/layers.h).

All images are float32 [N, H, W, C], contiguous: the channels of a pixel are side by side, and so is what a
vector instruction takes. A layer adds a residual and applies ReLU before it writes its result. Each is made
from a plain layer's parameters, with the BatchNorm behind it already folded in.
"""

import os
from typing import List, Optional, Sequence, Tuple

from torch import Tensor

from . import compiled

_extension = compiled._extension
#: packed weights; kernel, stride and padding; the step, first row and column of the pixels they give
Parts = List[Tuple[Tensor, List[int], List[int]]]
#: Up to so many input times output channels. The transformed weights take four times the memory, and layers
#: with more channels usually have few pixels.
_WINOGRAD_LIMIT = 256 * 256
#: Up to so many, minimal filtering stays in float32: products are not what takes its time there, and in
#: bfloat16 its errors are several times those of direct products.
_EXACT_WINOGRAD_LIMIT = 64 * 64


def available() -> bool:
    """Whether the layers are compiled, and CENTERNET_DCN does not ask for the reference."""
    return _extension is not None and os.environ.get('CENTERNET_DCN') != 'reference'


def why_no_bf16() -> Optional[str]:
    """Return why products cannot be computed in bfloat16 here; None if they can."""
    if _extension is None:
        return f'the compiled layers are missing: {compiled.MISSING}'
    if not available():
        return 'CENTERNET_DCN=reference leaves the compiled layers out'
    return None if _extension.has_bf16() else 'the processor, or the compiler, does not support AVX512_BF16'


def _pack(weight: Tensor, bias: Tensor, stride: int, winograd: bool, bf16: bool) -> Tensor:
    """The weights and the bias as the extension takes them, by the fastest method that suits them."""
    shape = [*weight.shape[1:], stride]
    channels = weight.shape[0] * weight.shape[1]
    winograd = winograd and channels <= _WINOGRAD_LIMIT and _extension.has_method(*shape, True, False)
    exact = winograd and channels <= _EXACT_WINOGRAD_LIMIT
    bf16 = bf16 and not exact and _extension.has_method(*shape, winograd, True)
    return _extension.pack(weight.contiguous(), bias.contiguous(), winograd, bf16, stride)


class Layer:
    """A layer: ``layer(input, residual) -> output``; ``residual`` has the shape of the output, or is None."""

    def __init__(
        self, kernel: Sequence[int], stride: int, padding: Sequence[int], relu: bool = False
    ) -> None:
        self.kernel, self.stride, self.padding, self.relu = tuple(kernel), stride, tuple(padding), relu

    def out_size(self, input: Tensor) -> List[int]:
        """Height and width of the output."""
        return [
            (size + 2 * padding - kernel) // self.stride + 1
            for size, padding, kernel in zip(input.shape[1:3], self.padding, self.kernel)
        ]

    def sizes(self, output: Tensor) -> List[int]:
        """The layer's sizes as the extension takes them."""
        return [*output.shape[1:], *self.kernel, self.stride, *self.padding]

    def new_output(self, input: Tensor, channels: int) -> Tensor:
        """Return an uninitialised output."""
        return input.new_empty((input.shape[0], *self.out_size(input), channels))


class Convolution(Layer):
    """A convolution with one group.

    Args:
        weight: [Cout, C, kh, kw].
        bias: [Cout].
        stride, padding: of the convolution, the latter vertical and horizontal.
        relu: apply ReLU.
        bf16: round the factors of products to bfloat16, where the layer can.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        stride: int,
        padding: Sequence[int],
        relu: bool = False,
        bf16: bool = False,
    ) -> None:
        super().__init__(weight.shape[2:], stride, padding, relu)
        self.channels = len(bias)
        self.parts = self.pack_parts(weight, bias, bf16)

    def pack_parts(self, weight: Tensor, bias: Tensor, bf16: bool) -> Parts:
        """Return the parts whose outputs together are that of the layer."""
        packed = _pack(weight, bias, self.stride, True, bf16)
        return [(packed, [*self.kernel, self.stride, *self.padding], [1, 0, 0])]

    def __call__(self, input: Tensor, residual: Optional[Tensor] = None) -> Tensor:
        output = self.new_output(input, self.channels)
        residual = input.new_empty(0) if residual is None else residual
        for packed, window, place in self.parts:
            sizes = [*[size // place[0] for size in output.shape[1:3]], self.channels, *window]
            _extension.convolve(input, packed, residual, self.relu, output, sizes, place)
        return output


class TransposedConvolution(Convolution):
    """A transposed convolution with one group; the output is ``stride`` times as large.

    Output pixels whose places leave the same remainders when divided by the stride are a convolution of the
    input with a part of the kernel.

    Args:
        weight: [C, Cout, k, k] with k = stride + 2 * padding.
        bias: [Cout].
    """

    def pack_parts(self, weight: Tensor, bias: Tensor, bf16: bool) -> Parts:
        parts = []
        for row in range(self.stride):
            for column in range(self.stride):
                (rows, top), (columns, left) = self._taps(row, 0), self._taps(column, 1)
                part = weight[:, :, rows][:, :, :, columns].transpose(0, 1)
                window = [len(rows), len(columns), 1, top, left]
                parts.append((_pack(part, bias, 1, False, bf16), window, [self.stride, row, column]))
        return parts

    def _taps(self, remainder: int, axis: int) -> Tuple[List[int], int]:
        """The taps that reach the output pixels with a remainder, from the first input pixel on, and the
        padding before it."""
        start = remainder + self.padding[axis]
        taps = [tap for tap in reversed(range(self.kernel[axis])) if (start - tap) % self.stride == 0]
        return taps, -((start - taps[0]) // self.stride)

    def out_size(self, input: Tensor) -> List[int]:
        return [size * self.stride for size in input.shape[1:3]]


class DeformableConvolution(Layer):
    """A deformable convolution with one group: ``layer(input, predicted) -> output``.

    ``predicted``, [N, Ho, Wo, 3 * deformable_groups * taps], are the offsets and the logits of the mask, as
    ``conv_offset_mask`` of :class:`centernet.kernels.DCN` gives them.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        stride: int,
        padding: Sequence[int],
        dilation: int,
        deformable_groups: int,
        relu: bool = False,
        bf16: bool = False,
    ) -> None:
        super().__init__(weight.shape[2:], stride, padding, relu)
        self.channels, self.dilation, self.deformable_groups = weight.shape[0], dilation, deformable_groups
        self.packed = _pack(weight, bias, stride, False, bf16)

    def __call__(self, input: Tensor, predicted: Tensor) -> Tensor:
        output = input.new_empty((*predicted.shape[:3], self.channels))
        numbers = (self.sizes(output), self.dilation, self.deformable_groups)
        _extension.deform(input, predicted, self.packed, self.relu, output, *numbers)
        return output


class Spread(Layer):
    """A transposed convolution of each channel on its own; the output is ``stride`` times as large.

    Args:
        weight: [C, 1, k, k] with k = stride + 2 * padding; C may be 1 for the same in all channels.
    """

    def __init__(self, weight: Tensor, stride: int, padding: Sequence[int], relu: bool = False) -> None:
        super().__init__(weight.shape[2:], stride, padding, relu)
        self.weight = weight[:, 0].permute(1, 2, 0).contiguous().clone()  # contiguous() may share memory

    out_size = TransposedConvolution.out_size

    def __call__(self, input: Tensor, residual: Optional[Tensor] = None) -> Tensor:
        output = self.new_output(input, input.shape[3])
        residual = input.new_empty(0) if residual is None else residual
        weight = self.weight.expand(*self.kernel, input.shape[3]).contiguous()
        _extension.spread(input, weight, residual, self.relu, output, self.sizes(output))
        return output


class MaxPool(Layer):
    """The largest value in each window."""

    def __call__(self, input: Tensor) -> Tensor:
        output = self.new_output(input, input.shape[3])
        _extension.max_pool(input, output, self.sizes(output))
        return output
