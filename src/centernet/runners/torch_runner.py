"""Run a network in torch."""

from typing import Any, Dict, List, Optional

import numpy as np
import torch

from .. import compat
from ..checkpoint import LoadedModel
from ..detection import Heads
from ..device import describe_device
from ..errors import CheckpointError
from .input_limits import InputLimits, limits_of


class TorchRunner:
    """A network in torch; see :mod:`centernet.runners` for what all runners have in common.

    Args:
        model: maps float32 [N, 3, H, W] to a dict with the heads hm, wh and reg. It is moved to ``device``
            and set to evaluation mode.
        device: where it runs. On the CPU the runner may use a copy of the model that is faster there.
        classes: channels of the heat map.
        identity: what determines the output apart from the kind of runner: architecture, the weights' sha256.
        about: more for people, such as the weights' path.
        threads: number of CPU threads; None keeps torch's setting.
    """

    #: any number of images goes through, and the outputs are heads
    batch_size, decodes = None, False

    def __init__(
        self,
        model: torch.nn.Module,
        device: torch.device,
        classes: int,
        identity: Optional[Dict[str, Any]] = None,
        about: Optional[Dict[str, Any]] = None,
        threads: Optional[int] = None,
    ) -> None:
        self.device = torch.device(device)
        self.classes = classes
        self._threads = threads if self.device.type == 'cpu' else None
        model = model.to(self.device).eval()
        self.model = compat.prepare_for_cpu(model) if self.device.type == 'cpu' else model
        self.path = self.arch = ''
        self.limits = InputLimits()
        self.notes: List[str] = []
        self._identity = dict(identity or {})
        self._about = dict(about or {})

    @classmethod
    def of_checkpoint(
        cls, loaded: LoadedModel, device: torch.device, path: str, threads: Optional[int] = None
    ) -> 'TorchRunner':
        """Create a runner from the result of :func:`centernet.checkpoint.load_model` for the file ``path``.

        Raises:
            CheckpointError: the network does not have the heads for detection.
        """
        if [loaded.heads.get(name) for name in ('wh', 'reg')] != [2, 2] or not loaded.heads.get('hm'):
            raise CheckpointError(
                '{} has the heads {}; detection (ctdet) needs hm (one channel per class), wh (2) and'
                ' reg (2)'.format(path, ', '.join('{} ({})'.format(*head) for head in loaded.heads.items()))
            )
        runner = cls(
            loaded.model,
            device,
            loaded.heads['hm'],
            {
                'arch': loaded.arch,
                'weights_sha256': loaded.checkpoint.sha256,
                'weights_entry': loaded.checkpoint.entry,
            },
            {'weights': str(path), 'epoch': loaded.checkpoint.epoch, 'heads': dict(loaded.heads)},
            threads,
        )
        runner.path, runner.arch, runner.limits = str(path), loaded.arch, limits_of(loaded)
        runner.notes.extend(loaded.notes)
        return runner

    @property
    def device_type(self) -> str:
        """``cpu`` or ``cuda``."""
        return self.device.type

    def __call__(self, images: np.ndarray) -> Heads:
        """Run a batch, float32 [N, 3, H, W]; the heads are on the runner's device."""
        if self._threads:
            compat.set_threads(self._threads)
        with torch.no_grad():
            heads = self.model(torch.as_tensor(images).to(self.device))
        if self.device.type == 'cuda':
            with torch.cuda.device(self.device):  # torch 1.0's synchronize takes no device
                torch.cuda.synchronize()
        return Heads(heads['hm'], heads['wh'], heads['reg'])

    def identity(self) -> Dict[str, Any]:
        """Return what determines the output, compared when a run is resumed."""
        return dict(self._identity, runner='torch', torch=torch.__version__, device_type=self.device.type)

    def describe(self) -> Dict[str, Any]:
        """Return the network's entry in metrics.json: :meth:`identity`, the file, and the device."""
        found = dict(self.identity(), **dict(self._about, **describe_device(self.device)))
        if self._threads:
            found['threads'] = self._threads
        return found
