"""Write the inputs of a data set as files for a device's tool, with what is needed to judge its outputs."""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import zlib
from typing import Dict, Iterator, List, Tuple

import attr
import numpy as np

from ..coco import CocoData, read_image
from ..detection import warp
from ..networks.network import Network
from ..options.fields import to_json
from ..runs.predict import check_network, progress_bar
from ..runs.record import Record
from ..runs.sources import DataSource
from ..system.errors import DataError, OptionError, OutputError
from ..system.files import display_path, ensure_folder
from .layouts import CALIBRATION, INPUTS, Layout, encode, file_stem, list_text
from .manifest import MANIFEST_NAME, Image, InputFile, write_manifest
from .mistakes import variants_of
from .reference import REFERENCE, reference_name, write_references

#: the script for devices, as it is called beside the manifest
SCRIPT_NAME = 'run_device.py'


@attr.s(auto_attribs=True)
class Dump:
    """What to write.

    ``network``: of a checkpoint. ``data``: the data set, with the network's channels. ``record``: of their
    run; it selects the images. ``layout``, ``dtype`` and ``input_name``: of the files. ``batch``: images in a
    file. ``calibrate``: how many other images for a calibration. ``references``: how many images the
    checkpoint is run on. ``inputs``: whether to write the inputs at all. ``progress``: show a bar on stderr.

    Attributes:
        image_ids: in the order of the files. calibration: ids of the images for the calibration.
        failed: image id -> why it was left out.

    Raises:
        OptionError: an option is out of range or does not fit the layout, there are too few images, or the
            network is not a checkpoint's or makes no boxes.
    """

    network: Network
    data: CocoData
    record: Record
    layout: Layout
    dtype: str = 'float32'
    batch: int = 1
    input_name: str = 'image'
    calibrate: int = 0
    references: int = 8
    inputs: bool = True
    progress: bool = True

    def __attrs_post_init__(self) -> None:
        layout, info, selection = self.layout, self.network.info, self.record.selection
        if info.runtime != 'torch':
            raise OptionError(f'--weights {info.file}: the references are those of a checkpoint')
        check_network(self.network, DataSource(self.data, ()), self.record.protocol)
        if self.batch > 1 and not layout.batches:
            raise OptionError(f'--batch {self.batch}: the layout {layout.name} has one image per file')
        everything, name = self.data.image_ids, self.data.annotations
        taken = set(selection.all_shards(everything, name))
        others = [image_id for image_id in everything if image_id not in taken]
        if self.calibrate > len(others):
            raise OptionError(
                f'--calibration {self.calibrate}: only {len(others)} images are not evaluated: reduce --limit'
            )
        # in the order of the names, in which tools read them
        self.image_ids = sorted(selection.of(everything, name), key=file_stem)
        self.calibration: List[int] = others[: self.calibrate]
        self.failed: Dict[int, str] = {}
        self.variants = variants_of(self.network.model)

    def write(self, folder: str) -> List[str]:
        """Write the inputs, the references and, last of all, the manifest; return the paths for people.

        Files of an earlier dump in the folder are removed.

        Raises:
            DataError: none of the images can be read.
            OutputError: a file cannot be written, or the folder holds files that are not of a dump.
        """
        spec, names = self.record.protocol.input, [SCRIPT_NAME]
        try:
            ensure_folder(folder)
            _clear(folder)
            document = {'written': self._names()}
            write_manifest(folder, document, [])  # what to remove, should this dump not finish
            files = self._write_inputs(folder, INPUTS, self.image_ids, self.batch, self.inputs)
            if not files:
                raise DataError(f'no image could be read; the first: {next(iter(self.failed.values()))}')
            self._write_inputs(folder, CALIBRATION, self.calibration, 1)
            ids = [image.id for file in files for image in file.images][: self.references]
            images = [warp(read_image(self.data.file(image_id)), spec)[0] for image_id in ids]
            reference = write_references(folder, self.network, images, ids, spec.normalization)
            shutil.copyfile(os.path.join(os.path.dirname(__file__), SCRIPT_NAME), f'{folder}/{SCRIPT_NAME}')
            if self.layout.list_file and self.inputs:
                names.append(self.layout.list_file)
                listed = [file.name for file in files]
                with open(os.path.join(folder, names[1]), 'w', encoding='utf-8') as file:
                    size = spec.width, spec.height
                    file.write(list_text(self.layout, listed, self.batch, *size, self.input_name))
        except OSError as error:
            path = display_path(error.filename or folder)
            raise OutputError(f'cannot write {path}: {error.strerror}') from error
        document.update(
            layout=self.layout.name,
            dtype=self.dtype,
            batch=self.batch,
            input_name=self.input_name,
            record=to_json(self.record),
            calibration={'folder': CALIBRATION, 'images': self.calibration},
            reference=reference,
        )
        folders = [INPUTS] * self.inputs + [CALIBRATION] * bool(self.calibration) + [REFERENCE]
        names += [os.path.join(name, '') for name in folders]
        return [write_manifest(folder, document, files)] + [os.path.join(folder, name) for name in names]

    def _names(self) -> List[str]:
        """The names that the files of this dump may have, relative to the manifest."""
        return [
            f'{folder}/{self._stem(position, image_id)}{self.layout.suffix}'
            for folder, ids in ((INPUTS, self.image_ids), (CALIBRATION, self.calibration))
            for position, image_id in enumerate(ids)
        ] + [
            reference_name(variant.name, head)
            for variant in self.variants
            for head in self.network.info.heads
        ]

    def _stem(self, position: int, image_id: int) -> str:
        return str(position) if self.layout.by_position else file_stem(image_id)

    def _write_inputs(
        self, folder: str, name: str, image_ids: List[int], batch: int, write: bool = True
    ) -> List[InputFile]:
        """Write the inputs of images into a folder in ``folder``, or only describe them.

        A batch that the images do not fill is filled with zeros.
        """
        files = []
        if image_ids and write:
            ensure_folder(os.path.join(folder, name))
        with contextlib.closing(self._loaded(image_ids)) as loaded:
            for items in iter(lambda: list(itertools.islice(loaded, batch)), []):
                images, digest = tuple(image for image, _ in items), None
                relative = f'{name}/{self._stem(len(files), images[0].id)}{self.layout.suffix}'
                if write:
                    array = np.zeros((batch,) + items[0][1].shape, self.dtype)
                    array[: len(items)] = [planes for _, planes in items]
                    content = encode(self.layout, self.input_name, array)
                    with open(os.path.join(folder, relative), 'wb') as file:
                        file.write(content)
                    digest = hashlib.sha256(content).hexdigest()
                files.append(InputFile(relative, images, digest))
        return files

    def _loaded(self, image_ids: List[int]) -> Iterator[Tuple[Image, np.ndarray]]:
        """The images that can be read, with their inputs; the others are added to ``failed``."""
        _, batches = DataSource(self.data, image_ids).batches(self.record, ())
        bar = progress_bar(self.progress)(len(image_ids), 0)
        with contextlib.closing(batches), contextlib.closing(bar):
            for batch in batches:
                self.failed.update(batch.failures)
                for group in batch.scales[0]:  # all inputs have one size
                    for place, planes, geometry in zip(group.positions, group.images, group.geometries):
                        image_id = batch.ids[place]
                        file_name = self.data.entries[image_id]['file_name']
                        # its memory is used again for later batches
                        yield Image(image_id, file_name, geometry, zlib.crc32(planes)), planes.copy()
                bar.update(len(batch.ids) + len(batch.failures))


def _clear(folder: str) -> None:
    """Remove the files of an earlier dump, which its manifest lists."""
    path, listed = os.path.join(folder, MANIFEST_NAME), set()
    if os.path.exists(path):
        try:
            with open(path, encoding='utf-8') as file:
                listed = set(json.load(file)['written'])
        except (ValueError, KeyError, TypeError):
            raise OutputError(
                f'{display_path(path)} is of another version of centernet: choose another --output'
            ) from None
    folders = [name for name in (INPUTS, CALIBRATION, REFERENCE) if os.path.isdir(os.path.join(folder, name))]
    found = [f'{name}/{file}' for name in folders for file in os.listdir(os.path.join(folder, name))]
    foreign = sorted(name for name in set(found) - listed if '/.' not in name)
    if foreign:
        raise OutputError(
            f'{display_path(folder)} has {foreign[0]}, which no dump wrote: choose another --output'
        )
    for name in listed.intersection(found):
        os.unlink(os.path.join(folder, name))
