"""Deformable convolution v2 as compiled C++ (csrc/): where it is loaded from, what it supports, and its
gradient."""

import importlib

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .build_extension import extension_name

CPU_DTYPES = (torch.float32, torch.float64)
CUDA_DTYPES = (torch.float16, torch.float32, torch.float64)


def _load():
    """The extension module and None, or None and why there is none."""
    name = extension_name(torch.__version__)
    try:
        return importlib.import_module('.' + name, __package__), None
    except ImportError as error:
        if getattr(error, 'name', None) == __package__ + '.' + name:
            return None, f'it was not built for torch {torch.__version__}'
        return None, f'it cannot be loaded: {error}'


_extension, MISSING = _load()


def unsupported(input):
    """Why the compiled operator cannot take such an input; None where it can."""
    if _extension is None:
        return MISSING
    if input.device.type == 'cpu':
        return (
            None
            if input.dtype in CPU_DTYPES
            else f'on a CPU it computes in float32 or float64, not {input.dtype}'
        )
    if input.device.type != 'cuda':
        return f'it runs on CPUs and CUDA, not on {input.device.type}'
    if not _extension.has_cuda():
        return 'it was built without CUDA'
    return (
        None
        if input.dtype in CUDA_DTYPES
        else f'on CUDA it computes in float16, float32 or float64, not {input.dtype}'
    )


def description():
    """What the compiled operator is, for people: ``'CPU (avx512)'``, ``'CPU (avx2) and CUDA'``; None where it
    is missing."""
    if _extension is None:
        return None
    return 'CPU ({}){}'.format(_extension.instruction_set(), ' and CUDA' if _extension.has_cuda() else '')


def choose_instruction_set(name):
    """Compute with ``'plain'``, ``'avx2'`` or ``'avx512'`` instructions from now on, instead of the
    processor's best.

    Returns:
        Whether the processor has them; if not, nothing changes.
    """
    return _extension.choose_instruction_set(name)


def deform_conv2d_compiled(input, offset, mask, weight, bias, shape):
    """Modulated deformable convolution, compiled.

    Args: as in :func:`centernet.dcn.deform_conv2d`; ``shape`` is what ``check_arguments`` returned for them,
        and ``unsupported(input)`` is None.

    Returns:
        Tensor [N, out_channels, Ho, Wo] of input's dtype. Differentiable, once, in all five tensors.
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
    """``sizes``: stride, padding, dilation (vertical, horizontal each), groups, deformable_groups,
    out_height, out_width. An empty bias is none."""

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
