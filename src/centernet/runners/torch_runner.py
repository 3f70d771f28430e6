"""Run a network in torch."""

import copy
from collections import OrderedDict
from typing import Any, Dict, List, Mapping, Optional

import numpy as np
import torch

from .. import compat
from ..checkpoint import LoadedModel
from ..detection import Heads
from ..detection.heads import notes_on, of_outputs, ordered, why_no_boxes
from ..device import describe_device
from ..models.prepare import prepare
from ..precision import BF16, FP16, FP32, TF32, to_half
from .class_names import class_names, note_on_names
from .input_limits import InputLimits, limits_of
from .recorded import notes_on_records


class TorchRunner:
    """A network in torch; see :mod:`centernet.runners` for what all runners have in common.

    Args:
        model: maps float32 [N, 3, H, W] to a dict of heads. It is moved to ``device`` and set to evaluation
            mode.
        device: where it runs. On the CPU the runner prepares a copy of the model that is faster there.
        classes: channels of the heat map.
        identity: what determines the output apart from the kind of runner: architecture, the weights' sha256.
        about: more for people, such as the weights' path.
        threads: number of CPU threads; None keeps torch's setting.
        heads: name -> channels; by default hm of ``classes``, wh and reg.
        precision: one of :data:`centernet.precision.PRECISIONS`; heads are float32 with each.
    """

    #: any number of images goes through, and the outputs are heads, hm of logits
    batch_size, decodes, heat_map = None, False, None

    def __init__(
        self,
        model: torch.nn.Module,
        device: torch.device,
        classes: int,
        identity: Optional[Dict[str, Any]] = None,
        about: Optional[Dict[str, Any]] = None,
        threads: Optional[int] = None,
        heads: Optional[Mapping[str, int]] = None,
        precision: str = FP32,
    ) -> None:
        self.device = torch.device(device)
        self.classes = classes
        self.channels = ordered(heads or {'hm': classes, 'wh': 2, 'reg': 2})
        self.no_boxes = why_no_boxes(self.channels)
        self._threads = threads if self.device.type == 'cpu' else None
        self.precision = precision
        model = model.to(self.device).eval()
        self.model = to_half(model) if precision == FP16 else model
        self._network = self.model
        if precision != FP16 and self.device.type == 'cpu':
            self._network = prepare(model, precision == BF16) or compat.prepare_for_cpu(model)
        self.path = self.arch = ''
        self.limits = InputLimits()
        self.class_names: Optional[List[str]] = None
        self.notes: List[str] = [] if self.no_boxes else notes_on(self.channels)
        self._identity = dict(identity or {})
        self._about = dict(about or {})

    @classmethod
    def of_checkpoint(
        cls,
        loaded: LoadedModel,
        device: torch.device,
        path: str,
        threads: Optional[int] = None,
        precision: str = FP32,
    ) -> 'TorchRunner':
        """Create a runner from the result of :func:`centernet.checkpoint.load_model` for a file."""
        runner = cls(
            loaded.model,
            device,
            loaded.heads.get('hm', 0),
            {
                'arch': loaded.arch,
                'weights_sha256': loaded.checkpoint.sha256,
                'weights_entry': loaded.checkpoint.entry,
            },
            {'weights': str(path), 'epoch': loaded.checkpoint.epoch, 'heads': dict(loaded.heads)},
            threads,
            loaded.heads,
            precision,
        )
        runner.path, runner.arch, runner.limits = str(path), loaded.arch, limits_of(loaded)
        runner.class_names = class_names(loaded.checkpoint.meta, runner.classes)
        runner.notes.extend(loaded.notes + notes_on_records(loaded.checkpoint.meta))
        runner.notes.extend(note_on_names(loaded.checkpoint.meta, runner.classes))
        return runner

    def plain(self) -> 'TorchRunner':
        """Return a runner of the same network in torch's own layers, as the reference of a proof.

        On a CPU, this runner computes other sums than the network spells (:mod:`centernet.models.prepare`).
        """
        runner = copy.copy(self)
        if self.precision == FP32 and self.device.type == 'cpu':
            runner._network = compat.prepare_for_cpu(self.model)
        return runner

    @property
    def device_type(self) -> str:
        """``cpu`` or ``cuda``."""
        return self.device.type

    def __call__(self, images: np.ndarray) -> Heads:
        """Run a batch, float32 [N, 3, H, W]; the heads are on the runner's device.

        Raises:
            ModelError: the network makes no boxes.
        """
        return of_outputs(self.outputs(images))

    def outputs(self, images: np.ndarray) -> 'OrderedDict[str, torch.Tensor]':
        """Run a batch as :meth:`__call__` does; returns every head by its name."""
        if self._threads:
            compat.set_threads(self._threads)
        if self.device.type == 'cuda':
            compat.set_gpu_products(tf32=self.precision == TF32)
        images = torch.as_tensor(images).to(self.device)
        with torch.no_grad():
            heads = self._network(images.half() if self.precision == FP16 else images)
        if self.device.type == 'cuda':
            with torch.cuda.device(self.device):  # torch 1.0's synchronize takes no device
                torch.cuda.synchronize()
        return OrderedDict((name, heads[name].float()) for name in self.channels)

    def identity(self) -> Dict[str, Any]:
        """Return what determines the output, compared when a run is resumed."""
        return dict(
            self._identity,
            runner='torch',
            torch=torch.__version__,
            device_type=self.device.type,
            precision=self.precision,
        )

    def describe(self) -> Dict[str, Any]:
        """Return the network's entry in metrics.json: :meth:`identity`, the file, and the device."""
        found = dict(self.identity(), **dict(self._about, **describe_device(self.device)))
        if self._threads:
            found['threads'] = self._threads
        return found
