"""Where onnxruntime runs: the execution provider for ``--device``, and what the device is called."""

import os
import subprocess
from typing import Any, NamedTuple

import onnxruntime
import torch

from ...system.device import describe_device, parse_device
from ...system.errors import DeviceError


class Placement(NamedTuple):
    """``provider``: an execution provider, as onnxruntime takes it. ``device``: ``cpu`` or ``cuda:N``."""

    provider: Any
    device: str


#: the provider that every onnxruntime has
CPU = Placement('CPUExecutionProvider', 'cpu')


def placement(name: str) -> Placement:
    """Choose the provider for ``--device``.

    Args:
        name: ``auto`` (the first GPU if onnxruntime was built with CUDA, else the CPU), ``cpu``, ``cuda`` or
            ``cuda:N``.

    Raises:
        DeviceError: the name is unknown, or onnxruntime was built without CUDA.
    """
    kind, index = parse_device(name)
    has_cuda = 'CUDAExecutionProvider' in onnxruntime.get_available_providers()
    if kind == 'cpu' or (kind == 'auto' and not has_cuda):
        return CPU
    if not has_cuda:
        raise DeviceError(
            f'{name}: onnxruntime {onnxruntime.__version__} is built without CUDA; use --device cpu, or'
            ' install onnxruntime-gpu'
        )
    number = index or 0
    options = {'device_id': number}
    if tuple(int(part) for part in onnxruntime.__version__.split('.')[:2]) >= (1, 18):
        options['use_tf32'] = 0  # as with --precision fp32; older versions have no choice
    return Placement(('CUDAExecutionProvider', options), f'cuda:{number}')


def device_name(device: str) -> str:
    """The name of the processor or GPU behind ``cpu`` or ``cuda:N``, ``unknown`` if nothing tells it.

    torch knows the GPU's name if it was built with CUDA, else nvidia-smi does. nvidia-smi counts in PCI
    order, CUDA the fastest GPU first: with several kinds of GPU and without torch,
    CUDA_DEVICE_ORDER=PCI_BUS_ID makes them agree.
    """
    if device == 'cpu':
        return describe_device(torch.device('cpu'))['device_name']
    number = int(device.split(':')[1])
    if torch.cuda.is_available() and number < torch.cuda.device_count():
        return torch.cuda.get_device_name(number)
    visible = os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',')
    identifier = visible[number].strip() if visible[0] and number < len(visible) else str(number)
    command = ['nvidia-smi', '--query-gpu=name', '--format=csv,noheader', '--id=' + identifier]
    try:
        found = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return 'unknown'
    lines = found.stdout.decode('utf-8', 'replace').split('\n') if found.returncode == 0 else []
    return (lines[0].strip() if lines else '') or 'unknown'
