"""Networks behind one face: a float32 batch in, :class:`~centernet.detection.Heads` out.

A runner is any object with

- ``runner(images)``: float32 array [N, 3, H, W] -> Heads, float32 tensors on any device; it returns when the
  result is there, so that the caller can time it; a runner whose network has a decoder (``decodes`` is true)
  gives RawBoxes instead;
- ``classes``: channels of its heat map;
- ``identity()``: plain dict of what decides its output (kind, architecture, hash of the weights, ...),
compared on ``--resume``;
- ``describe()``: plain dict for people and metrics.json (paths, device, ...).

:func:`centernet.evaluation.evaluate` takes any of them.
"""

import time
from typing import Any, Dict, List, Optional

import numpy as np
import torch

from .. import compat
from ..detection import Heads
from ..device import describe_device
from ..errors import CheckpointError
from .limits import InputLimits, limits_of
from .threads import ThreadChooser


class TorchRunner:
    """A network in torch.

    Args:
        model: maps float32 [N, 3, H, W] to a dict with the heads hm, wh and reg. It is moved to ``device``
            and put in evaluation mode.
        device: a torch.device.
        classes: channels of the heat map.
        identity: what decides the output apart from the kind of runner: architecture, the weights' sha256.
        about: more for people, such as the weights' path.
        threads: on the CPU, how many threads; None leaves the number as torch has it.
        adapt_threads: ``threads`` is the most; fewer are used while fewer are faster
            (:class:`ThreadChooser`).

    On the CPU the runner may keep a copy of the model that is faster there.
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
        adapt_threads: bool = False,
    ) -> None:
        self.device = torch.device(device)
        self.classes = classes
        self._threads = threads if self.device.type == 'cpu' else None
        self._chooser = ThreadChooser(threads) if adapt_threads and (self._threads or 1) > 1 else None
        model = model.to(self.device).eval()
        self.model = compat.prepare_for_cpu(model) if self.device.type == 'cpu' else model
        self.path = self.arch = ''
        self.limits = InputLimits()
        self.notes: List[str] = []
        self._identity = dict(identity or {})
        self._about = dict(about or {})

    @classmethod
    def of_checkpoint(cls, loaded: Any, device: torch.device, path: str, **threads: Any) -> 'TorchRunner':
        """A runner of what :func:`centernet.checkpoint.load_model` returned for the file ``path``;
        ``threads`` as above.

        Raises CheckpointError for a network without the heads of detection.
        """
        if [loaded.heads.get(name) for name in ('wh', 'reg')] != [2, 2] or not loaded.heads.get('hm'):
            raise CheckpointError(
                '{} has the heads {}; detection (ctdet) needs hm (one channel per class), wh (2) and reg (2)'.format(
                    path, ', '.join('{} ({})'.format(*head) for head in loaded.heads.items())
                )
            )
        runner = cls(
            loaded.model,
            device,
            loaded.heads['hm'],
            {'arch': loaded.arch, 'weights_sha256': loaded.checkpoint.sha256},
            {'weights': str(path), 'epoch': loaded.checkpoint.epoch, 'heads': dict(loaded.heads)},
            **threads,
        )
        runner.path, runner.arch, runner.limits = str(path), loaded.arch, limits_of(loaded)
        if loaded.checkpoint.epoch is not None:
            runner.notes.append(f'epoch {loaded.checkpoint.epoch}')
        if loaded.unused_keys:
            names = ', '.join(loaded.unused_keys[:3]) + (', ...' if len(loaded.unused_keys) > 3 else '')
            runner.notes.append(f'{len(loaded.unused_keys)} entries of the checkpoint are not used: {names}')
        return runner

    @property
    def device_type(self) -> str:
        """``cpu`` or ``cuda``."""
        return self.device.type

    def __call__(self, images: np.ndarray) -> Heads:
        """float32 array or tensor [N, 3, H, W] -> Heads on the runner's device."""
        threads = self._chooser.choose() if self._chooser else self._threads
        if threads:
            compat.set_threads(threads)
        start = time.perf_counter()
        with torch.no_grad():
            heads = self.model(torch.as_tensor(images).to(self.device))
        if self._chooser:
            self._chooser.report(
                threads, time.perf_counter() - start, images.shape[0] * images.shape[2] * images.shape[3]
            )
        if self.device.type == 'cuda':
            with torch.cuda.device(self.device):  # torch 1.0's synchronize takes no device
                torch.cuda.synchronize()
        return Heads(heads['hm'], heads['wh'], heads['reg'])

    def identity(self) -> Dict[str, Any]:
        """See the module."""
        return dict(self._identity, runner='torch', torch=torch.__version__, device_type=self.device.type)

    def describe(self) -> Dict[str, Any]:
        """See the module."""
        found = dict(self.identity(), **dict(self._about, **describe_device(self.device)))
        if self._threads:
            found['threads'] = self._threads
        if self._chooser:
            found['batches_by_threads'] = {
                str(number): batches for number, batches in self._chooser.batches.items()
            }
        return found
