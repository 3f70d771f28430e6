"""What runs a network: one list. A new runtime is a module beside this one, and an entry."""

import importlib
from typing import NamedTuple, Optional, Tuple

from ...options.fields import flag
from ...system.errors import OptionError
from ...system.files import display_path
from ...system.precision import FP32
from ..network import Network


class Runtime(NamedTuple):
    """An entry.

    Attributes:
        name: as it is recorded.
        module: of this package, imported when it opens a file: ``open_file(path, device, threads, **options)
            -> Network``.
        suffix: of the names of its files.
        options: of :func:`open_network`, those that it takes.
        command: that evaluates its files.
    """

    name: str
    module: str
    suffix: str
    options: Tuple[str, ...]
    command: str


#: the last one takes every file that is no other's
RUNTIMES = (
    Runtime('onnxruntime', 'onnx_runtime', '.onnx', (), 'eval-onnx'),
    Runtime('torch', 'torch_runtime', '', ('arch', 'weights_key', 'precision'), 'eval-pth'),
)


def open_network(
    path: str,
    device: str = 'auto',
    threads: Optional[int] = None,
    arch: Optional[str] = None,
    weights_key: Optional[str] = None,
    precision: str = FP32,
) -> Network:
    """Open a checkpoint or an ONNX file.

    Args:
        path: the file.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads; None takes all available cores for ONNX Runtime and torch's own number for
            torch.
        arch: of a checkpoint that does not name its architecture.
        weights_key: of a checkpoint with several state dicts, the entry to take.
        precision: of a checkpoint's network, one of :data:`centernet.system.precision.PRECISIONS`.

    Raises:
        CheckpointError, ArchitectureError, ModelError: the file cannot be read, or is not a detector.
        DeviceError: the device is unknown or cannot be used, or does not have the precision.
        OptionError: the file's runtime does not take an option.
    """
    runtime = find_runtime(path)
    options = {'arch': arch, 'weights_key': weights_key, 'precision': precision}
    for name, value in options.items():
        if name not in runtime.options and value not in (None, FP32):
            raise OptionError(f'{flag(name)} {value} is for checkpoints, not for {display_path(path)}')
    module = importlib.import_module('.' + runtime.module, __package__)
    return module.open_file(path, device, threads, **{name: options[name] for name in runtime.options})


def find_runtime(path: str) -> Runtime:
    """The entry of :data:`RUNTIMES` that runs a file."""
    return next(runtime for runtime in RUNTIMES if path.lower().endswith(runtime.suffix))
