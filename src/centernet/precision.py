"""The arithmetic of a network in torch: ``--precision``.

On a GPU of compute capability 8.0 or newer, torch may round the operands of a product to 10 bits (TF32), by
default in cuDNN's convolutions but not in matrix products, such as that of the deformable convolution. Here
both do what the precision says. Torch is imported only inside functions, as in :mod:`centernet.device`.
"""

from typing import TYPE_CHECKING, Optional

from .errors import DeviceError

if TYPE_CHECKING:
    import torch

#: float32 throughout: the figures of any other device, to rounding
FP32 = 'fp32'
#: float32, but products of TF32 operands
TF32 = 'tf32'
#: float16, but float32 in batch normalization, in sums, and after the heads
FP16 = 'fp16'
#: on CPUs: products of bfloat16 operands, float32 elsewhere
BF16 = 'bf16'
PRECISIONS = (FP32, TF32, FP16, BF16)

_FIRST_TF32_CAPABILITY = (8, 0)


def check_precision(precision: str, device: 'torch.device') -> None:
    """Check that a device has a precision.

    Args:
        precision: one of PRECISIONS.
        device: from :func:`.device.resolve_device`.

    Raises:
        DeviceError: it has not; the message gives the reason.
    """
    import torch

    from . import compat

    if precision == FP32:
        return
    problem = None
    if precision == BF16:
        problem = _why_no_bf16(device)
    elif device.type != 'cuda':
        problem = 'a GPU is needed; the device is the CPU'
    elif precision == TF32 and not compat.HAS_TF32:
        problem = f'torch {torch.__version__} does not support TF32'
    elif precision == TF32:
        capability = torch.cuda.get_device_capability(device)
        if capability < _FIRST_TF32_CAPABILITY:
            problem = '{}, {}, has compute capability {}.{}, and TF32 begins with {}.{}'.format(
                device, torch.cuda.get_device_name(device), *capability, *_FIRST_TF32_CAPABILITY
            )
    if problem is not None:
        raise DeviceError(f'--precision {precision} is unavailable: {problem}; use --precision fp32')


def _why_no_bf16(device: 'torch.device') -> Optional[str]:
    import torch

    from . import compat
    from .dcn import layers

    if device.type != 'cpu':
        return f'it is for CPUs; the device is {device}'
    if not compat.HAS_BF16:
        return f'torch {torch.__version__} does not support bfloat16'
    return layers.why_no_bf16()


def to_half(model: 'torch.nn.Module') -> 'torch.nn.Module':
    """Convert a model to float16 in place, but for its batch normalizations: variances may exceed 65504."""
    from torch.nn.modules.batchnorm import _BatchNorm

    model.half()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.float()
    return model
