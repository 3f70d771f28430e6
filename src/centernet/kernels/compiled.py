"""Deformable convolution v2, compiled from C++ (csrc/): loading, supported inputs, and autograd."""

import importlib
from typing import List, Optional

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .arguments import Shape
from .build_extension import extension_name
from .reference import deform_conv2d_reference

#: by kind of device
_DTYPES = {
    'cpu': (torch.float32, torch.float64),
    'cuda': (torch.float16, torch.float32, torch.float64),
}


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
    kind = input.device.type
    if kind == 'cuda' and why_no_cuda():
        return f'it is built without CUDA, because {why_no_cuda()}'
    return None if input.dtype in _DTYPES.get(kind, ()) else f'it has no {input.dtype} on {kind}'


def description() -> Optional[str]:
    """Describe the compiled operator, such as ``'CPU (avx2) and CUDA'``; None if it is missing."""
    if _extension is None:
        return None
    return 'CPU ({}){}'.format(_extension.instruction_set(), '' if why_no_cuda() else ' and CUDA')


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

    Args: as in :func:`centernet.kernels.deform_conv2d`; ``shape`` is from ``check_arguments``.
        ``unsupported(input)`` must be None.

    Returns:
        [N, out_channels, Ho, Wo], dtype of the input; differentiable once in all five tensors.
    """
    bias = weight.new_empty(0) if bias is None else bias
    return _DeformConv2d.apply(input, offset, mask, weight, bias, shape)


class _DeformConv2d(Function):
    """The operator with autograd. An empty bias means none."""

    @staticmethod
    def forward(ctx, input, offset, mask, weight, bias, shape):
        ctx.shape = shape
        ctx.save_for_backward(input, offset, mask, weight, bias)
        forward = _extension.forward_on_gpu if input.is_cuda else _extension.forward
        return forward(input, offset, mask, weight, bias, _sizes(shape))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        tensors, wanted = ctx.saved_tensors, list(ctx.needs_input_grad[:5])
        if grad_output.is_cuda:
            return (*_extension.backward(*tensors[:4], grad_output, _sizes(ctx.shape), wanted), None)
        # on a CPU, the reference's: it computes the layer again
        leaves = [tensor.detach().requires_grad_(want) for tensor, want in zip(tensors, wanted)]
        with torch.enable_grad():
            bias = leaves[4] if leaves[4].numel() else None
            output = deform_conv2d_reference(*leaves[:4], bias, ctx.shape)
        output.backward(grad_output)
        return (*[leaf.grad for leaf in leaves], None)


def _sizes(shape: Shape) -> List[int]:
    """What the extension does not see in the tensors."""
    size, pairs = (shape.out_height, shape.out_width), (*shape.stride, *shape.padding, *shape.dilation)
    return [*size, *pairs, shape.groups, shape.deformable_groups]
