"""The outputs of the checkpoint for the first images, in files of numpy's own format, without pickles."""

import os
from collections import OrderedDict
from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np
import torch
from torch import nn

from ..checkpoint import LoadedModel
from ..detection import InputSpec
from ..detection.normalization import normalise
from ..errors import DataError
from ..files import atomic_write, display_path, sha256
from ..runners.torch_runner import TorchRunner
from .manifest import Manifest
from .variants import PLAIN, applicable, changed

#: folder of the files
REFERENCE = 'reference'
#: images for which the variants are computed, too; on the others only the plain network
VARIANT_IMAGES = 2

#: name of a head -> float32 [n, channels, h, w]
Outputs = 'OrderedDict[str, np.ndarray]'


class References(NamedTuple):
    """What the checkpoint gives.

    ``image_ids``: of the images. ``outputs``: variant -> head -> float32 [n, channels, h, w], of the first n
    images; the plain network has all.
    """

    image_ids: List[int]
    outputs: 'OrderedDict[str, Outputs]'


def write_references(
    folder: str,
    loaded: LoadedModel,
    device: torch.device,
    images: Sequence[np.ndarray],
    image_ids: Sequence[int],
    spec: InputSpec,
) -> Dict[str, Any]:
    """Run the checkpoint and its variants, and write their outputs.

    Args:
        folder: with the manifest; the files go into ``reference/`` in it.
        loaded: the checkpoint's network, not yet prepared for a device.
        device: where it runs.
        images: uint8 [H, W, 3], already of the input's size.
        image_ids: of the images.
        spec: the input, with the normalization.

    Returns:
        The manifest's entry.

    Raises:
        OutputError: a file cannot be written.
    """
    os.makedirs(os.path.join(folder, REFERENCE), exist_ok=True)
    plain, variants = _runner(loaded.model, loaded, device), OrderedDict()
    for variant in applicable(loaded.model):
        chosen = images if variant.name == PLAIN else images[:VARIANT_IMAGES]
        runner = plain
        if variant.change is not None:
            runner = _runner(changed(loaded.model, variant), loaded, device)
        feed = variant.feed or normalise
        parts = [runner.outputs(feed(image, spec.normalization)[np.newaxis]) for image in chosen]
        variants[variant.name] = {
            head: _write(folder, variant.name, head, [part[head] for part in parts]) for head in parts[0]
        }
    return {'images': list(image_ids), 'variants': variants}


def reference_bytes(heads: Dict[str, int], cells: int, images: int, variants: int) -> int:
    """How much space the files take.

    Args:
        heads: name -> channels.
        cells: of an output plane.
        images: how many references.
        variants: how many besides the plain network.
    """
    return 4 * cells * sum(heads.values()) * (images + variants * min(images, VARIANT_IMAGES))


def read_references(manifest: Manifest) -> References:
    """Read the references that a manifest names.

    Raises:
        DataError: a file is missing or damaged, or not what the manifest says.
    """
    entry = manifest.document['reference']
    folder = os.path.dirname(os.path.abspath(manifest.path))
    outputs = OrderedDict()
    try:
        image_ids = [int(image_id) for image_id in entry['images']]
        for variant, files in entry['variants'].items():
            outputs[variant] = OrderedDict(
                (head, _read(folder, files[head], (channels,) + manifest.cells))
                for head, channels in manifest.heads.items()
            )
        if {len(array) for array in outputs[PLAIN].values()} != {len(image_ids)}:
            raise ValueError(PLAIN)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DataError(
            f'the references in {display_path(manifest.path)} are incomplete: dump the inputs again'
        ) from None
    return References(image_ids, outputs)


def _runner(model: nn.Module, loaded: LoadedModel, device: torch.device) -> TorchRunner:
    return TorchRunner(model, device, loaded.heads.get('hm', 0), heads=loaded.heads).plain()


def _write(folder: str, variant: str, head: str, parts: List[torch.Tensor]) -> Dict[str, str]:
    array = np.concatenate([part.detach().cpu().numpy().astype(np.float32) for part in parts])
    name = f'{REFERENCE}/{variant}_{head}.npy'
    path = os.path.join(folder, name)
    with atomic_write(path, 'wb') as file:
        np.save(file, array, allow_pickle=False)
    return {'file': name, 'sha256': sha256(path)}


def _read(folder: str, entry: Dict[str, str], shape) -> np.ndarray:
    path = os.path.join(folder, entry['file'])
    try:
        if sha256(path) != entry['sha256']:
            raise DataError(f'{display_path(path)} was changed since it was written: dump the inputs again')
        array = np.load(path, mmap_mode='r', allow_pickle=False)
    except OSError as error:
        raise DataError(f'cannot read {display_path(path)}: {error.strerror}') from None
    if array.dtype != np.float32 or array.shape[1:] != shape or not len(array):
        raise ValueError(path)
    return array
