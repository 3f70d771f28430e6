"""Which arithmetic a device has, and how a network gets it.

On a GPU of compute capability 8.0 or newer, torch may round the operands of a product to 10 bits (TF32), by
default in cuDNN's convolutions but not in matrix products, such as that of the deformable convolution. Here
both do what the precision says.
"""

from typing import Optional

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from ..system import compat
from ..system.errors import DeviceError
from ..system.precision import BF16, FP32, TF32
from . import layers

_FIRST_TF32_CAPABILITY = (8, 0)


def check_precision(precision: str, device: torch.device) -> None:
    """Check that a device has a precision.

    Args:
        precision: one of PRECISIONS.
        device: from :func:`.device.resolve_device`.

    Raises:
        DeviceError: it has not; the message gives the reason.
    """
    problem = None
    if precision == BF16:
        problem = _why_no_bf16(device)
    elif precision != FP32 and device.type != 'cuda':
        problem = 'a GPU is needed; the device is the CPU'
    elif precision == TF32 and not compat.HAS_TF32:
        problem = f'torch {torch.__version__} does not support TF32'
    elif precision == TF32 and torch.cuda.get_device_capability(device) < _FIRST_TF32_CAPABILITY:
        name = torch.cuda.get_device_name(device)
        problem = '{}, {}, has compute capability {}.{}, and TF32 begins with {}.{}'.format(
            device, name, *torch.cuda.get_device_capability(device), *_FIRST_TF32_CAPABILITY
        )
    if problem is not None:
        raise DeviceError(f'--precision {precision} is unavailable: {problem}; use --precision fp32')


def _why_no_bf16(device: torch.device) -> Optional[str]:
    if device.type != 'cpu':
        return f'it is for CPUs; the device is {device}'
    if not compat.HAS_BF16:
        return f'torch {torch.__version__} does not support bfloat16'
    return layers.why_no_bf16()


def to_half(model: torch.nn.Module) -> torch.nn.Module:
    """Convert a model to float16 in place, but for its batch normalizations: variances may exceed 65504."""
    model.half()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.float()
    return model
