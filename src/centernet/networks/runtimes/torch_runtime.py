"""Run a checkpoint's network in torch."""

import copy
from collections import OrderedDict
from typing import Any, Mapping, Optional

import numpy as np
import torch

from ...detection.heads import notes_on, ordered, why_no_boxes
from ...kernels.precision import check_precision, to_half
from ...system import compat
from ...system.device import describe_device, resolve_device
from ...system.precision import BF16, FP16, FP32, TF32
from ..architectures.fuse import fuse
from ..checkpoint import LoadedModel, load_model
from ..facts import facts_of_checkpoint
from ..network import FirstLayers, Network, NetworkInfo


def open_file(
    path: str,
    device: str,
    threads: Optional[int],
    arch: Optional[str],
    weights_key: Optional[str],
    precision: str,
) -> 'TorchNetwork':
    """As :func:`~centernet.networks.open_network`, for a checkpoint."""
    found = resolve_device(device)
    check_precision(precision, found)
    return TorchNetwork.of_checkpoint(load_model(path, arch, weights_key), found, path, threads, precision)


class TorchNetwork(Network):
    """A network in torch.

    Args:
        model: maps float32 [N, 3, H, W] to a dict of heads. It is moved to ``device`` and set to evaluation
            mode.
        device: where it runs. On the CPU it is a copy of the model that is faster there.
        heads: name -> channels.
        threads: number of CPU threads; None keeps torch's setting.
        precision: one of :data:`centernet.system.precision.PRECISIONS`; heads are float32 with each.
        about: more fields of NetworkInfo.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        device: torch.device,
        heads: Mapping[str, int],
        threads: Optional[int] = None,
        precision: str = FP32,
        **about: Any,
    ) -> None:
        device = torch.device(device)
        on_cpu = device.type == 'cpu'
        model = model.to(device).eval()
        self.model = to_half(model) if precision == FP16 else model
        self._network = self.model
        if precision != FP16 and on_cpu:
            self._network = fuse(model, precision == BF16) or compat.prepare_for_cpu(model)
        self._names = list(ordered(heads))
        described = describe_device(device)
        self.info = NetworkInfo(
            runtime='torch',
            heads=heads,
            precision=precision,
            device=described['device'],
            device_name=described['device_name'],
            capability=described.get('capability'),
            threads=threads if on_cpu else None,
            versions={'torch': torch.__version__, 'cuda': torch.version.cuda},
            notes=(*([] if why_no_boxes(heads) else notes_on(ordered(heads))), *about.pop('notes', ())),
            **about,
        )

    @classmethod
    def of_checkpoint(
        cls,
        loaded: LoadedModel,
        device: torch.device,
        path: str,
        threads: Optional[int] = None,
        precision: str = FP32,
    ) -> 'TorchNetwork':
        """Run the result of :func:`centernet.networks.checkpoint.load_model` for a file."""
        facts, checkpoint = facts_of_checkpoint(loaded), loaded.checkpoint
        return cls(
            loaded.model,
            device,
            loaded.heads,
            threads,
            precision,
            file=str(path),
            sha256=checkpoint.sha256,
            entry=checkpoint.entry,
            arch=loaded.arch,
            epoch=checkpoint.epoch,
            **dict(facts._asdict(), notes=(*loaded.notes, *facts.notes)),
        )

    def outputs(self, images: np.ndarray) -> 'OrderedDict[str, torch.Tensor]':
        """Every head by its name, on the network's device."""
        info = self.info
        if info.threads:
            compat.set_threads(info.threads)
        if info.device_type == 'cuda':
            compat.set_gpu_products(tf32=info.precision == TF32)
        images = torch.as_tensor(images).to(info.device)
        with torch.no_grad():
            heads = self._network(images.half() if info.precision == FP16 else images)
        if info.device_type == 'cuda':
            with torch.cuda.device(images.device):  # torch 1.0's synchronize takes no device
                torch.cuda.synchronize()
        return OrderedDict((name, heads[name].float()) for name in self._names)

    def plain(self) -> 'TorchNetwork':
        """The same network in torch's own layers. On a CPU, this one computes other sums than the network
        spells (:mod:`centernet.networks.architectures.fuse`)."""
        network = copy.copy(self)
        if self.info.precision == FP32 and self.info.device_type == 'cpu':
            network._network = compat.prepare_for_cpu(self.model)
        return network

    def first_layers(self) -> Optional[FirstLayers]:
        leaves = [module for module in self.model.modules() if not list(module.children())]
        for module, following in zip(leaves, leaves[1:]):
            if isinstance(module, torch.nn.Conv2d):
                fits = module.in_channels == 3 and isinstance(following, torch.nn.BatchNorm2d)
                mean = following.running_mean if fits else None
                return (module, following) if mean is not None and bool((mean != 0).any()) else None
        return None
