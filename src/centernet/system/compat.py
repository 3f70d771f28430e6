"""Differences between torch 1.0.0 and torch 2.5 and newer. No other module checks torch's version.

Versions between the two are not supported: ``torch.onnx.export`` has other arguments there.
"""

import contextlib
import copy
import ctypes
import functools
import glob
import os
from typing import IO, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import nn

#: torch's version as two integers, such as ``(1, 0)``
TORCH_VERSION = tuple(int(part) for part in torch.__version__.split('.')[:2])

#: torch has bfloat16, and can round the operands of float32 products on GPUs to TF32
HAS_BF16 = HAS_TF32 = TORCH_VERSION >= (2, 0)


def weighted_row_sums(table: torch.Tensor, rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum weighted rows of a table; differentiable in the table and the weights.

    Args:
        table: [R, C], float32 or float64.
        rows: int64 [P, k], in [0, R).
        weights: [P, k], same dtype as the table.

    Returns:
        [P, C]; row p is the sum over k of ``weights[p, k] * table[rows[p, k]]``.
    """
    if TORCH_VERSION >= (2, 0):
        return F.embedding_bag(rows, table, mode='sum', per_sample_weights=weights)
    total = 0
    for k in range(rows.shape[1]):
        total = total + table.index_select(0, rows[:, k]) * weights[:, k : k + 1]
    return total


def set_threads(threads: int) -> None:
    """Set the number of CPU threads of torch and its libraries. It can be changed at any time.

    In the wheel of torch 1.0.0, ``torch.set_num_threads`` reaches only MKL: the convolutions (mkldnn) use
    OpenMP's setting, and torch's own loops are single-threaded.
    """
    torch.set_num_threads(threads)
    if TORCH_VERSION < (2, 0):
        openmp = _bundled_openmp()
        if openmp is not None:
            openmp.omp_set_num_threads(threads)


@functools.lru_cache(maxsize=None)
def _bundled_openmp():
    """Return the OpenMP runtime that torch has loaded, or None if it is not found."""
    for path in glob.glob(os.path.join(os.path.dirname(torch.__file__), 'lib', 'libgomp*.so*')):
        return ctypes.CDLL(path)  # returns the loaded copy
    return None


def set_gpu_products(tf32: bool) -> None:
    """Set how GPUs compute this process's convolutions and matrix products from now on: both in the same way.

    Args:
        tf32: round float32 operands to TF32. Sums are always in float32, those of float16, too.
    """
    if HAS_TF32:
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False


def prepare_for_cpu(model: nn.Module) -> nn.Module:
    """Speed up a model's convolutions for inference on the CPU; results differ only by rounding.

    Args:
        model: a module on the CPU, in evaluation mode.

    Returns:
        torch 2: the same module with channels-last weights. torch 1.0.0: a copy whose convolutions are
        padded to a multiple of 8 output channels; the surplus is sliced off. mkldnn of torch 1.0.0 has no
        direct convolution for other widths and takes up to 30 times as long, at least 4 ms
        (docs/performance.md). Examples are the 27 channels of offsets and masks before every deformable
        convolution, and the 2 of wh and reg.
    """
    if TORCH_VERSION >= (2, 0):
        return model.to(memory_format=torch.channels_last)
    model = copy.deepcopy(model)
    for module in model.modules():
        if type(module) is nn.Conv2d and module.groups == 1 and module.out_channels % 8:
            module.forward = _padded_convolution(module)
    return model


def _padded_convolution(conv):
    channels = conv.out_channels
    weight = F.pad(conv.weight.detach(), (0, 0, 0, 0, 0, 0, 0, -channels % 8))
    bias = None if conv.bias is None else F.pad(conv.bias.detach(), (0, -channels % 8))

    def forward(x):
        return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation)[:, :channels].contiguous()

    return forward


#: opset of the raw graph: torch 1.0.0 supports only 9, and torch 2.x needs a later one for slices
RAW_OPSET = 9 if TORCH_VERSION < (2, 0) else 11


def custom_operator(name: str) -> str:
    """Return the name to use in a symbolic for a non-standard operator of ONNX's default domain.

    torch 2.x writes unknown operators only with a domain of their own; the exporter then removes
    ``centernet`` from the file.
    """
    return name if TORCH_VERSION < (2, 0) else 'centernet::' + name


def with_channels(value: 'torch._C.Value', like: 'torch._C.Value', channels: int) -> 'torch._C.Value':
    """Give ``value``, the result of a symbolic, the shape of ``like`` with another number of channels.

    torch 1.0.0 has no such hint; there ``value`` is returned unchanged.
    """
    if TORCH_VERSION < (2, 0) or not like.type().sizes():
        return value
    batch, _, height, width = like.type().sizes()
    value.setType(like.type().with_sizes([batch, channels, height, width]))
    return value


@contextlib.contextmanager
def untraced() -> Iterator[None]:
    """Suspend tracing in a block: its operations are not recorded, and sizes are plain numbers."""
    state = torch._C._get_tracing_state()
    torch._C._set_tracing_state(None)
    try:
        yield
    finally:
        torch._C._set_tracing_state(state)


def export_structure(
    model: nn.Module,
    image: torch.Tensor,
    file: IO[bytes],
    input_name: str,
    output_names: Sequence[str],
    opset: int,
) -> None:
    """Run ``torch.onnx.export`` without weights: they become inputs named as in the state dict.

    BatchNormalization is kept and constants are not folded, so that torch 1.0.0 and 2.x write the same graph.

    Args:
        model: in evaluation mode.
        image: the example input, float32 [N, 3, H, W].
        file: binary file to write to.
        opset: torch 1.0.0 supports only 9.
    """
    names = {'input_names': [input_name] + list(model.state_dict()), 'output_names': output_names}
    if TORCH_VERSION < (2, 0):
        torch.onnx.export(model, (image,), file, export_params=False, **names)
        return
    names['input_names'] = [input_name]
    torch.onnx.export(
        model,
        (image,),
        file,
        export_params=False,
        dynamo=False,
        opset_version=opset,
        do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        keep_initializers_as_inputs=True,
        **names,
    )
