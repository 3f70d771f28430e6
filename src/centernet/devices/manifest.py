"""manifest.json: what the files of :mod:`.dump` are, so that outputs can be judged later and elsewhere."""

import json
import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ..coco import CocoData
from ..detection import DOWN_RATIO, Geometry
from ..options.fields import flag, from_json
from ..options.protocol import Protocol
from ..options.selection import DataOptions, Selection
from ..runs.plan import open_data
from ..runs.record import Record
from ..system.errors import DataError, OptionError
from ..system.files import atomic_write, display_path, sha256

MANIFEST_NAME = 'manifest.json'
_VERSION = 2


class Image(NamedTuple):
    """An image in an input file.

    ``id``: in the annotations. ``file_name``: in the folder of the images. ``geometry``: its place in the
    input. ``crc32``: of its float32 input, which tells whether two images have the same one.
    """

    id: int
    file_name: str
    geometry: Geometry
    crc32: int


class InputFile(NamedTuple):
    """An input file.

    ``name``: relative to the manifest. ``images``: in their order; a batch that they do not fill has zeros
    behind them. ``sha256``: None if the file was not written.
    """

    name: str
    images: Tuple[Image, ...]
    sha256: Optional[str]

    @property
    def stem(self) -> str:
        """The name that the tools keep: without folder and suffix."""
        return os.path.splitext(os.path.basename(self.name))[0]


class Manifest(NamedTuple):
    """The content of manifest.json.

    ``path``: of the file. ``sha256``: its hash. ``record``: the checkpoint, the data and the protocol that
    the inputs are for. ``files``: the inputs, in the order of the tools. ``document``: the JSON document:
    also layout, dtype, batch, input_name, calibration and reference.
    """

    path: str
    sha256: str
    record: Record
    files: Tuple[InputFile, ...]
    document: Dict[str, Any]

    @property
    def heads(self) -> Mapping[str, int]:
        """Name -> channels of the checkpoint's heads."""
        return self.record.network.heads

    @property
    def cells(self) -> Tuple[int, int]:
        """(height, width) of the outputs."""
        spec = self.record.protocol.input
        return spec.height // DOWN_RATIO, spec.width // DOWN_RATIO

    @property
    def places(self) -> Dict[int, Tuple[int, int]]:
        """Image id -> (position of its file, position in the file), in the order of the files."""
        return {
            image.id: (position, place)
            for position, file in enumerate(self.files)
            for place, image in enumerate(file.images)
        }

    def check_weights(self, path: str) -> None:
        """Raise OptionError if the inputs and references are not of the checkpoint in this file."""
        recorded, digest = self.record.network.sha256, sha256(path)
        if recorded != digest:
            raise OptionError(
                f'{display_path(self.path)} was written for other weights: sha256 {str(recorded)[:12]}...'
            )

    def check_protocol(self, given: Protocol) -> None:
        """Raise OptionError if somebody asks for another input than the manifest's."""
        for name in ('input_height', 'input_width', 'normalization'):
            wanted, recorded = getattr(given, name), getattr(self.record.protocol, name)
            if wanted not in (None, recorded):
                shown = display_path(self.path)
                raise OptionError(f'{flag(name)} {wanted}: the inputs of {shown} have {recorded}')

    def open_data(self, options: DataOptions, sample_parent: str) -> CocoData:
        """Read the data set that the inputs are of, with its channels.

        Args:
            options: the data set, if it is not where it was.
            sample_parent: where the built-in sample is written, if that is needed.

        Raises:
            OptionError: it is another data set.
        """
        recorded = self.record.data
        if not options.given and os.path.exists(recorded.annotations):
            options = DataOptions(annotations=recorded.annotations, images=recorded.images)
        data = open_data(options, sample_parent)
        if sha256(data.annotations) != recorded.sha256:
            raise OptionError(f'{display_path(self.path)} was written for other data: {recorded.annotations}')
        return data.with_channels(recorded.channels)

    def select(self, selection: Selection) -> List[int]:
        """The selected images, in the order of the files. Raises DataError if there are none."""
        return selection.of(list(self.places), display_path(self.path))


def write_manifest(folder: str, document: Dict[str, Any], files: List[InputFile]) -> str:
    """Write manifest.json; returns its path.

    An image has its ``geometry`` (centre and scale), and a ``matrix`` from its pixels to the input's, for
    readers that do not know the geometry.

    Args:
        folder: where it goes.
        document: all but the files.
        files: the inputs.

    Raises:
        OutputError: it cannot be written.
    """
    entries = []
    for name, images, digest in files:
        about = []
        for image in images:
            matrix = image.geometry.to_input().ravel().tolist()
            about.append(dict(image._asdict(), geometry=image.geometry[:2], matrix=matrix))
        entries.append({'file': name, 'sha256': digest, 'images': about})
    path = os.path.join(folder, MANIFEST_NAME)
    with atomic_write(path) as file:
        json.dump(dict({'manifest': _VERSION}, **document, files=entries), file, allow_nan=False)
        file.write('\n')
    return path


def read_manifest(path: str) -> Manifest:
    """Read manifest.json.

    Args:
        path: the file, or the folder that it is in.

    Raises:
        DataError: it is missing, damaged, or not a manifest of this version.
    """
    if os.path.isdir(path):
        path = os.path.join(path, MANIFEST_NAME)
    shown = display_path(path)
    try:
        with open(path, encoding='utf-8') as file:
            document = json.load(file)
        if document['manifest'] != _VERSION:
            raise DataError(f'another version of centernet wrote the manifest {shown}: dump the inputs again')
        record = from_json(Record, document['record'])
        files = tuple(_input_file(entry, record.protocol) for entry in document['files'])
        return Manifest(path, sha256(path), record, files, document)
    except FileNotFoundError:
        raise DataError(f'no manifest {shown}: name that of dump-inputs with --manifest') from None
    except OSError as error:
        raise DataError(f'cannot read the manifest {shown}: {error.strerror}') from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, OptionError):
        raise DataError(f'{shown} is no manifest, or damaged or unfinished: dump the inputs again') from None


def _input_file(entry: Dict[str, Any], protocol: Protocol) -> InputFile:
    size = (protocol.input_width, protocol.input_height)
    cells = tuple(side // DOWN_RATIO for side in size)
    images = []
    for image in entry['images']:
        centre, scale = (tuple(map(float, part)) for part in image['geometry'])
        geometry = Geometry(centre, scale, size, cells)
        images.append(Image(image['id'], image['file_name'], geometry, image['crc32']))
    return InputFile(entry['file'], tuple(images), entry['sha256'])
