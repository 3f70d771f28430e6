"""What torch 1.0.0 and torch 2.x do differently. Nothing else in the package asks for a version."""

import contextlib
import copy
import ctypes
import functools
import glob
import inspect
import os

import torch
import torch.nn.functional as F
from torch import nn

#: torch's version as a tuple of two integers, e.g. ``(1, 0)``
TORCH_VERSION = tuple(int(part) for part in torch.__version__.split('.')[:2])

#: ``embedding_bag`` weighs its rows (torch >= 1.2), forward and backward
HAS_WEIGHTED_EMBEDDING_BAG = 'per_sample_weights' in inspect.signature(F.embedding_bag).parameters


def weighted_row_sums(table, rows, weights):
    """Weighted sums of a table's rows, differentiable in the table and in the weights.

    Args:
        table: [R, C], float32 or float64.
        rows: int64 [P, k], each in [0, R).
        weights: [P, k], of the table's dtype.

    Returns:
        [P, C], where row p is the sum over k of ``weights[p, k] * table[rows[p, k]]``.
    """
    if HAS_WEIGHTED_EMBEDDING_BAG:
        return F.embedding_bag(rows, table, mode='sum', per_sample_weights=weights)
    total = 0
    for k in range(rows.shape[1]):
        total = total + table.index_select(0, rows[:, k]) * weights[:, k : k + 1]
    return total


def set_threads(threads):
    """Set how many threads torch and the libraries under it use on the CPU; it may be changed at any time.

    torch 1.0.0's own call (in the PyPI wheel) reaches MKL alone: the convolutions (mkldnn) take OpenMP's
    number, and torch's loops have one thread always.
    """
    torch.set_num_threads(threads)
    if TORCH_VERSION < (1, 2):
        openmp = _bundled_openmp()
        if openmp is not None:
            openmp.omp_set_num_threads(threads)


@functools.lru_cache(maxsize=None)
def _bundled_openmp():
    """The OpenMP runtime that torch has loaded, or None where it cannot be found."""
    for path in glob.glob(os.path.join(os.path.dirname(torch.__file__), 'lib', 'libgomp*.so*')):
        return ctypes.CDLL(path)  # the copy that is loaded already
    return None


def prepare_for_cpu(model):
    """The model in the form in which its convolutions are fastest on the CPU, for inference; only rounding
    differs.

    Args:
        model: a module on the CPU, in evaluation mode.

    Returns:
        torch >= 1.5: the same module, with its weights in channels-last order. Older: a copy whose
        convolutions have a multiple of 8 output channels, the surplus cut off behind them. torch 1.0.0's
        mkldnn has no direct convolution for other numbers and takes up to 30 times as long, 4 ms at least
        (docs/threads.md); such are the 27 channels of offsets and masks before every deformable convolution,
        and the 2 of wh and reg.
    """
    if hasattr(torch, 'channels_last'):
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


#: the opset of the raw graph: torch 1.0.0 writes only 9, and torch 2.x needs a later one for slices
RAW_OPSET = 9 if TORCH_VERSION < (1, 2) else 11


def custom_operator(name):
    """How an operator of ONNX's default domain that ONNX does not know is called in a symbolic.

    torch 2.x only writes unknown operators of a domain of their own; ``centernet`` is then to be removed from
    the file.
    """
    return name if TORCH_VERSION < (1, 2) else 'centernet::' + name


def with_channels(value, like, channels):
    """``value`` of a symbolic, said to have the size of ``like`` but for its channels; torch 1.0.0 needs no
    such hint."""
    if not hasattr(like.type(), 'with_sizes') or not like.type().sizes():
        return value
    batch, _, height, width = like.type().sizes()
    value.setType(like.type().with_sizes([batch, channels, height, width]))
    return value


@contextlib.contextmanager
def untraced():
    """A block that leaves nothing in the trace that is being made: sizes are plain numbers in it."""
    state = torch._C._get_tracing_state()
    torch._C._set_tracing_state(None)
    try:
        yield
    finally:
        torch._C._set_tracing_state(state)


def export_structure(model, image, file, input_name, output_names, opset):
    """``torch.onnx.export`` of a network without its weights, which become inputs under the state dict's
    names.

    BatchNormalization stays as it is, and no constants are folded, so that torch 1.0.0 and 2.x write the
    same.

    Args:
        model: in evaluation mode.
        image: the example input, float32 [N, 3, H, W].
        file: binary file to write to.
        opset: torch 1.0.0 knows 9 only.
    """
    names = {'input_names': [input_name] + list(model.state_dict()), 'output_names': output_names}
    if TORCH_VERSION < (1, 2):
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
