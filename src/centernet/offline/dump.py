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
from ..detection import DOWN_RATIO, Geometry, InputSpec, warp
from ..errors import DataError, OptionError, OutputError
from ..evaluation import EvalOptions
from ..evaluation.eval_options import check, protocol, select
from ..evaluation.loader import make_loader, plan_batches
from ..files import display_path, ensure_folder, sha256
from ..provenance import versions
from .layouts import CALIBRATION, INPUTS, Layout, encode, file_stem, list_text
from .manifest import MANIFEST_NAME, Image, InputFile, write_manifest
from .reference import REFERENCE, reference_bytes, write_references
from .variants import applicable

#: the script for devices, as it is called beside the manifest
SCRIPT_NAME = 'run_device.py'
_OURS = re.compile(r'\d+\.(bin|json)$|[a-z0-9_]+\.npy$', re.IGNORECASE)
# images that are loaded at once
_LOADED = 8


class DumpOptions(NamedTuple):
    """What to write.

    ``layout``, ``dtype`` and ``input_name``: of the files. ``batch``: images in a file. ``spec``: the input.
    ``image_ids`` (None: all), then ``limit``, then ``shard`` (which, of how many; from 1) select the images.
    ``calibration``: how many others for a calibration. ``references``: how many images the checkpoint is run
    on. ``inputs``: whether to write the inputs at all. ``workers``: processes that load images.
    """

    layout: Layout
    spec: InputSpec
    dtype: str = 'float32'
    batch: int = 1
    input_name: str = 'image'
    image_ids: Optional[Tuple[int, ...]] = None
    limit: Optional[int] = None
    shard: Tuple[int, int] = (1, 1)
    calibration: int = 0
    references: int = 8
    inputs: bool = True
    workers: int = 0


class Plan(NamedTuple):
    """What a dump will write.

    ``image_ids``: in the order of the files. ``calibration``: ids of the images for the calibration.
    ``bytes``: the space that all files take. ``outputs``: that the outputs of the device will take, in
    float32.
    """

    image_ids: List[int]
    calibration: List[int]
    bytes: int
    outputs: int


class Dumped(NamedTuple):
    """What a dump has written: ``files``: paths for people; ``failed``: image id -> why it was left out."""

    files: List[str]
    failed: Dict[int, str]


def plan(loaded: LoadedModel, data: CocoData, options: DumpOptions) -> Plan:
    """Choose the images, and work out the space that their files take.

    Raises:
        OptionError: an option is out of range or does not fit the layout, or there are too few images.
        DataError: requested images are not in the data set.
    """
    spec, layout = options.spec, options.layout
    if spec.keep_res:
        raise OptionError('a device needs a fixed input: --keep-res cannot be dumped')
    if options.batch > 1 and not layout.batches:
        raise OptionError(
            f'--batch {options.batch}: the tools of the layout {layout.name} join files into batches'
            ' themselves; write one image per file'
        )
    selection = EvalOptions(input=spec, image_ids=options.image_ids, limit=options.limit)
    check(selection)
    chosen = select(data, selection)
    taken = set(chosen)
    others = [image_id for image_id in data.image_ids if image_id not in taken]
    if options.calibration > len(others):
        raise OptionError(
            f'--calibration {options.calibration}: only {len(others)} of the {len(data.image_ids)} images are'
            ' not evaluated, and images that are must not calibrate; use a smaller --limit'
        )
    index, count = options.shard
    # sorted: the order of the names, in which tools read them
    ids = sorted(chosen)[index - 1 :: count]
    if not ids:
        raise OptionError(f'--shard {index}/{count}: there are only {len(chosen)} images')
    item = np.dtype(options.dtype).itemsize
    per_image = int(3 * spec.height * spec.width * item * layout.growth)
    cells = (spec.height // DOWN_RATIO) * (spec.width // DOWN_RATIO)
    references = min(options.references, len(ids))
    written = (len(ids) * per_image if options.inputs else 0) + options.calibration * per_image
    variants = len(applicable(loaded.model)) - 1
    return Plan(
        ids,
        others[: options.calibration],
        written + reference_bytes(loaded.heads, cells, references, variants) + 400 * len(ids),
        4 * cells * sum(loaded.heads.values()) * len(ids),
    )


def check_space(planned: Plan, folder: str) -> int:
    """Return how many bytes are free for a folder's files. Raise OutputError if they are too few."""
    free = shutil.disk_usage(folder).free
    if planned.bytes > free:
        raise OutputError(
            f'{display_path(folder)} has {describe_bytes(free)} free, and the files take'
            f' {describe_bytes(planned.bytes)}: use --limit or --shard, or another --output'
        )
    return free


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
        planned: from :func:`plan`.
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


def describe_bytes(count: int) -> str:
    """``1.6 GB``, as disks are sold: 1 GB is a thousand million bytes."""
    for unit, size in (('GB', 10**9), ('MB', 10**6), ('kB', 10**3)):
        if count >= size:
            return f'{count / size:.1f} {unit}'
    return f'{count} bytes'


def _document(loaded, data, options, reference) -> Dict[str, Any]:
    checkpoint = loaded.checkpoint
    return {
        'layout': options.layout.name,
        'dtype': options.dtype,
        'batch': options.batch,
        'input_name': options.input_name,
        'shard': '{}/{}'.format(*options.shard),
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
                    yield _describe(data, batch.ids[place], planes, geometry), planes
            bar.update(len(batch.ids) + len(batch.failures))


def _describe(data: CocoData, image_id: int, planes: np.ndarray, geometry: Geometry) -> Image:
    return Image(image_id, data.coco.imgs[image_id]['file_name'], geometry, zlib.crc32(planes))


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
