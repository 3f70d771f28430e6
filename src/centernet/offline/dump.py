"""Write the inputs of a data set as files for a device's tool, with what is needed to judge its outputs."""

import contextlib
import hashlib
import os
import re
import shutil
import sys
import zlib
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from tqdm import tqdm

from ..checkpoint import LoadedModel
from ..coco import CocoData, read_image
from ..detection import Geometry, warp
from ..errors import DataError, OutputError
from ..evaluation import EvalOptions
from ..evaluation.eval_options import protocol
from ..evaluation.loader import make_loader, plan_batches
from ..files import display_path, ensure_folder, sha256
from ..provenance import versions
from .layouts import CALIBRATION, INPUTS, encode, file_stem, list_text
from .manifest import MANIFEST_NAME, Image, InputFile, write_manifest
from .planning import DumpOptions, Plan
from .reference import REFERENCE, write_references

#: the script for devices, as it is called beside the manifest
SCRIPT_NAME = 'run_device.py'
_OURS = re.compile(r'\d+\.(bin|json)$|[a-z0-9_]+\.npy$', re.IGNORECASE)
# images that are loaded at once
_LOADED = 8


class Dumped(NamedTuple):
    """What a dump has written: ``files``: paths for people; ``failed``: image id -> why it was left out."""

    files: List[str]
    failed: Dict[int, str]


def dump(
    loaded: LoadedModel,
    device: torch.device,
    data: CocoData,
    options: DumpOptions,
    planned: Plan,
    folder: str,
    progress: bool = True,
) -> Dumped:
    """Write the inputs, the references and, last of all, the manifest.

    Args:
        loaded: the checkpoint's network, for the references; not yet prepared for a device.
        device: where the references are computed.
        data: the images.
        options: what to write.
        planned: from :func:`.planning.plan`.
        folder: where; files of an earlier dump in it are removed.
        progress: show a bar on stderr.

    Raises:
        DataError: none of the images can be read.
        OutputError: a file cannot be written, or the folder holds files that are not of a dump.
    """
    ensure_folder(folder)
    for name in (INPUTS, CALIBRATION, REFERENCE):
        _clear(os.path.join(folder, name))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, MANIFEST_NAME))
    files, failed = _write_inputs(
        folder, INPUTS if options.inputs else None, data, options, planned.image_ids, progress
    )
    if not files:
        raise DataError(
            f'none of the {len(failed)} images could be read; the first: {next(iter(failed.values()))}'
        )
    if planned.calibration:
        _, more = _write_inputs(
            folder, CALIBRATION, data, options._replace(batch=1), planned.calibration, progress
        )
        failed.update(more)
    ids = [image.id for file in files for image in file.images][: options.references]
    pictures = [warp(read_image(data.file(image_id)), options.spec)[0] for image_id in ids]
    reference = write_references(folder, loaded, device, pictures, ids, options.spec)
    script = os.path.join(folder, SCRIPT_NAME)
    with _reported(script):
        shutil.copyfile(os.path.join(os.path.dirname(os.path.abspath(__file__)), SCRIPT_NAME), script)
    written = [script]
    if options.layout.list_file and options.inputs:
        written.append(os.path.join(folder, options.layout.list_file))
        names = [os.path.basename(file.name) for file in files]
        text = list_text(
            options.layout, names, options.batch, options.spec.width, options.spec.height, options.input_name
        )
        with _reported(written[-1]), open(written[-1], 'w', encoding='utf-8') as file:
            file.write(text)
    document = _document(loaded, data, options, reference)
    document['calibration'] = {'folder': CALIBRATION, 'images': planned.calibration}
    written.insert(0, write_manifest(folder, document, files))
    folders = [INPUTS] * options.inputs + [CALIBRATION] * bool(planned.calibration) + [REFERENCE]
    return Dumped(written + [os.path.join(folder, name, '') for name in folders], failed)


def _document(loaded, data, options, reference) -> Dict[str, Any]:
    checkpoint = loaded.checkpoint
    return {
        'layout': options.layout.name,
        'dtype': options.dtype,
        'batch': options.batch,
        'input_name': options.input_name,
        'shard': str(options.shard),
        'protocol': protocol(EvalOptions(input=options.spec)),
        'network': {
            'arch': loaded.arch,
            'weights_sha256': checkpoint.sha256,
            'weights_entry': checkpoint.entry,
            'heads': dict(loaded.heads),
        },
        'data': {
            'annotations': data.annotations,
            'images': data.images,
            'annotations_sha256': sha256(data.annotations),
            'channels': [None if category is None else list(category) for category in data.channels],
        },
        'reference': reference,
        'versions': versions(),
    }


def _write_inputs(
    folder: str,
    name: Optional[str],
    data: CocoData,
    options: DumpOptions,
    image_ids: List[int],
    progress: bool,
) -> Tuple[List[InputFile], Dict[int, str]]:
    """Write the inputs of images into a folder in ``folder``, or, if ``name`` is None, only describe them.

    Returns the files, and image id -> reason for the images that could not be read.
    """
    if name is not None:
        ensure_folder(os.path.join(folder, name))
    plain = all(0 <= image_id < 10**12 for image_id in image_ids)
    files, failed, waiting = [], {}, []
    loaded = _loaded(data, options, image_ids, failed, progress)
    with contextlib.closing(loaded):
        for item in loaded:
            waiting.append(item)
            if len(waiting) == options.batch:
                files.append(_write_one(folder, name, options, len(files), waiting, plain))
                waiting = []
    if waiting:
        files.append(_write_one(folder, name, options, len(files), waiting, plain))
    return files, failed


def _loaded(
    data: CocoData, options: DumpOptions, image_ids: List[int], failed: Dict[int, str], progress: bool
) -> Iterator[Tuple[Image, np.ndarray]]:
    """The images that can be read, with their inputs; the others are added to ``failed``."""
    paths = [(image_id, data.file(image_id)) for image_id in image_ids]
    batches = plan_batches(image_ids, None, _LOADED)
    loader = make_loader(paths, options.spec, (1.0,), batches, options.workers)
    with contextlib.closing(loader), tqdm(
        total=len(image_ids),
        unit='img',
        disable=None if progress else True,
        file=sys.stderr,
        dynamic_ncols=True,
    ) as bar:
        for batch in loader:
            failed.update(batch.failures)
            for group in batch.scales[0]:  # all inputs have one size
                for place, planes, geometry in zip(group.positions, group.images, group.geometries):
                    # its memory is used again for later batches
                    yield _describe(data, batch.ids[place], planes, geometry), planes.copy()
            bar.update(len(batch.ids) + len(batch.failures))


def _describe(data: CocoData, image_id: int, planes: np.ndarray, geometry: Geometry) -> Image:
    return Image(image_id, data.entries[image_id]['file_name'], geometry, zlib.crc32(planes))


def _write_one(
    folder: str, name: Optional[str], options: DumpOptions, position: int, items: List[Any], plain: bool
) -> InputFile:
    """Write one input file; a batch that the images do not fill is filled with zeros."""
    images = tuple(image for image, _ in items)
    stem = file_stem(options.layout, position, images[0].id, plain)
    relative = f'{name or INPUTS}/{stem}{options.layout.suffix}'
    if name is None:
        return InputFile(relative, images, None)
    array = np.zeros((options.batch,) + items[0][1].shape, options.dtype)
    for place, (_, planes) in enumerate(items):
        array[place] = planes
    content = encode(options.layout, options.input_name, array)
    path = os.path.join(folder, relative)
    with _reported(path), open(path, 'wb') as file:
        file.write(content)
    return InputFile(relative, images, hashlib.sha256(content).hexdigest())


def _clear(folder: str) -> None:
    """Remove the files of an earlier dump."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    foreign = sorted(name for name in names if not _OURS.match(name))
    if foreign:
        raise OutputError(
            f'{display_path(folder)} has files that are not of a dump ({foreign[0]}): choose another --output'
        )
    with _reported(folder):
        for name in names:
            os.unlink(os.path.join(folder, name))


@contextlib.contextmanager
def _reported(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f'cannot write {display_path(path)}: {error.strerror}') from error
