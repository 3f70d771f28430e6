"""The outputs of the checkpoint for the first images, in files of numpy's own format, without pickles."""

import os
from collections import OrderedDict
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from ..detection.preprocess import normalise
from ..networks.runtimes.torch_runtime import TorchNetwork
from ..options.normalization import Normalization
from ..system.errors import DataError
from ..system.files import atomic_write, display_path, sha256
from .manifest import Manifest
from .mistakes import PLAIN, changed, variants_of

#: folder of the files
REFERENCE = 'reference'
#: images for which the variants are computed, too; on the others only the plain network
VARIANT_IMAGES = 2


class References(NamedTuple):
    """What the checkpoint gives.

    ``image_ids``: of the images. ``outputs``: variant -> head -> float32 [n, channels, h, w], of the first n
    images; the plain network has all.
    """

    image_ids: List[int]
    outputs: 'OrderedDict[str, OrderedDict[str, np.ndarray]]'

    def positions(self, manifest: Manifest) -> 'OrderedDict[int, List[Tuple[int, int]]]':
        """Position of an input file -> (place in the file, number of the reference) of its reference
        images."""
        places, found = manifest.places, OrderedDict()
        for number, image_id in enumerate(self.image_ids):
            position, place = places[image_id]
            found.setdefault(position, []).append((place, number))
        return found


def write_references(
    folder: str,
    network: TorchNetwork,
    images: Sequence[np.ndarray],
    image_ids: Sequence[int],
    normalization: Normalization,
) -> Dict[str, Any]:
    """Run the checkpoint and its variants, and write their outputs.

    Args:
        folder: with the manifest; the files go into ``reference/`` in it.
        network: of the checkpoint.
        images: uint8 [H, W, 3], already of the input's size.
        image_ids: of the images.
        normalization: of the input.

    Returns:
        The manifest's entry.

    Raises:
        OutputError: a file cannot be written.
    """
    os.makedirs(os.path.join(folder, REFERENCE), exist_ok=True)
    info, variants = network.info, OrderedDict()
    for variant in variants_of(network.model):
        model = changed(network.model, variant)
        runner = TorchNetwork(model, info.device, info.heads).plain()
        chosen = images if variant.name == PLAIN else images[:VARIANT_IMAGES]
        feed = variant.feed or normalise
        fed = [np.ascontiguousarray(feed(image, normalization), np.float32) for image in chosen]
        parts = [runner.outputs(planes[np.newaxis]) for planes in fed]
        variants[variant.name] = {}
        for head in parts[0]:
            name = reference_name(variant.name, head)
            path = os.path.join(folder, name)
            with atomic_write(path, 'wb') as file:
                np.save(file, np.concatenate([part[head].cpu().numpy() for part in parts]))
            variants[variant.name][head] = {'file': name, 'sha256': sha256(path)}
    return {'images': list(image_ids), 'variants': variants}


def reference_name(variant: str, head: str) -> str:
    """The name of a file, relative to the manifest."""
    return f'{REFERENCE}/{variant}_{head}.npy'


def read_references(manifest: Manifest) -> References:
    """Read the references that a manifest names.

    Raises:
        DataError: a file is missing or damaged, or not what the manifest says.
    """
    entry, folder = manifest.document['reference'], os.path.dirname(os.path.abspath(manifest.path))
    outputs = OrderedDict(
        (variant, OrderedDict((head, _read(folder, files[head])) for head in manifest.heads))
        for variant, files in entry['variants'].items()
    )
    return References(entry['images'], outputs)


def _read(folder: str, entry: Dict[str, str]) -> np.ndarray:
    path = os.path.join(folder, entry['file'])
    try:
        if sha256(path) != entry['sha256']:
            raise DataError(f'{display_path(path)} was changed since it was written: dump the inputs again')
        return np.load(path, mmap_mode='r', allow_pickle=False)
    except OSError as error:
        raise DataError(f'cannot read {display_path(path)}: {error.strerror}') from None
