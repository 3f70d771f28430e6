"""How a network in a file is opened, whatever the file is."""

import os
from typing import Any, Optional

from ..precision import FP32, check_precision


def open_runner(
    path: str,
    device: str = 'auto',
    threads: Optional[int] = None,
    arch: Optional[str] = None,
    is_onnx: Optional[bool] = None,
    weights_key: Optional[str] = None,
    precision: str = FP32,
) -> Any:
    """Open a checkpoint or an ONNX file as a runner.

    Args:
        path: the file.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads; None takes all available cores for ONNX Runtime and torch's own number for
            torch.
        arch: of a checkpoint that does not name its architecture.
        is_onnx: whether it is an ONNX file; None decides by the name, which then ends in ``.onnx``.
        weights_key: of a checkpoint with several state dicts, the entry to take.
        precision: of a checkpoint's network, one of :data:`centernet.precision.PRECISIONS`.

    Returns:
        A :class:`~.torch_runner.TorchRunner` or an :class:`~.onnx_runner.OnnxRunner`.

    Raises:
        CheckpointError, ArchitectureError, ModelError: the file cannot be read, or is not a detector.
        DeviceError: the device is unknown or cannot be used, or does not have the precision.
    """
    if is_onnx is None:
        is_onnx = os.path.splitext(path)[1].lower() == '.onnx'
    if is_onnx:
        from .onnx_runner import OnnxRunner

        return OnnxRunner(path, device, threads)
    from ..checkpoint import load_model
    from ..device import resolve_device
    from .torch_runner import TorchRunner

    found = resolve_device(device)
    check_precision(precision, found)
    loaded = load_model(path, arch, weights_key=weights_key)
    return TorchRunner.of_checkpoint(loaded, found, path, threads, precision)
