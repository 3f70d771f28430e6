"""Deformable convolution v2, compiled from C++ (csrc/): loading, supported inputs, and autograd."""

import importlib
from typing import Optional

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .arguments import Shape
from .build_extension import extension_name

CPU_DTYPES = (torch.float32, torch.float64)
CUDA_DTYPES = (torch.float16, torch.float32, torch.float64)


def _load():
    """Return the extension module and None, or None and the reason why it is missing."""
    name = extension_name(torch.__version__)
    try:
        return importlib.import_module('.' + name, __package__), None
    except ImportError as error:
        if getattr(error, 'name', None) == __package__ + '.' + name:
            return None, f'it is not built for torch {torch.__version__}'
        return None, f'it cannot be loaded: {error}'


_extension, MISSING = _load()


def unsupported(input: Tensor) -> Optional[str]:
    """Return why the compiled operator does not support such an input; None if it does."""
    if _extension is None:
        return MISSING
    if input.device.type == 'cpu':
        return None if input.dtype in CPU_DTYPES else f'CPUs support float32 and float64, not {input.dtype}'
    if input.device.type != 'cuda':
        return f'it supports CPUs and CUDA, not {input.device.type}'
    if not _extension.has_cuda():
        return f'it is built without CUDA, because {why_no_cuda()}'
    if input.dtype not in CUDA_DTYPES:
        return f'CUDA supports float16, float32 and float64, not {input.dtype}'
    return None


def description() -> Optional[str]:
    """Describe the compiled operator, such as ``'CPU (avx2) and CUDA'``; None if it is missing."""
    if _extension is None:
        return None
    return 'CPU ({}){}'.format(_extension.instruction_set(), ' and CUDA' if _extension.has_cuda() else '')


def why_no_cuda() -> Optional[str]:
    """Return why the compiled operator is built without CUDA; None if it is built with CUDA, or missing."""
    return (_extension.why_no_cuda() or None) if _extension is not None else None


def choose_instruction_set(name: str) -> bool:
    """Use ``'plain'``, ``'avx2'`` or ``'avx512'`` instructions from now on instead of the processor's best.

    Returns:
        Whether the processor supports them; if not, nothing changes.
    """
    return _extension.choose_instruction_set(name)


def deform_conv2d_compiled(
    input: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Optional[Tensor], shape: Shape
) -> Tensor:
    """Compute a modulated deformable convolution with the compiled operator.

    Args: as in :func:`centernet.dcn.deform_conv2d`; ``shape`` is from ``check_arguments``.
        ``unsupported(input)`` must be None.

    Returns:
        [N, out_channels, Ho, Wo], dtype of the input; differentiable once in all five tensors.
    """
    sizes = [
        *shape.stride,
        *shape.padding,
        *shape.dilation,
        shape.groups,
        shape.deformable_groups,
        shape.out_height,
        shape.out_width,
    ]
    return _DeformConv2d.apply(
        input, offset, mask, weight, weight.new_empty(0) if bias is None else bias, sizes
    )


class _DeformConv2d(Function):
    """The operator with autograd.

    ``sizes``: stride, padding, dilation (each vertical, horizontal), groups, deformable_groups, out_height,
    out_width. An empty bias means none.
    """

    @staticmethod
    def forward(ctx, input, offset, mask, weight, bias, sizes):
        ctx.sizes = sizes
        ctx.save_for_backward(input, offset, mask, weight)
        return _extension.forward(input, offset, mask, weight, bias, sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        input, offset, mask, weight = ctx.saved_tensors
        gradients = _extension.backward(
            input, offset, mask, weight, grad_output, ctx.sizes, list(ctx.needs_input_grad[:5])
        )
        return (*gradients, None)
