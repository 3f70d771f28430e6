"""manifest.json: what the files of :mod:`.dump` are, so that outputs can be judged later and elsewhere."""

import json
import os
from collections import OrderedDict
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..detection import Geometry, InputSpec, Normalization
from ..errors import DataError, OptionError
from ..files import atomic_write, display_path, sha256

MANIFEST_NAME = 'manifest.json'
_VERSION = 1
#: what :func:`read_manifest` needs, and its type
_ENTRIES = (
    ('layout', str),
    ('dtype', str),
    ('batch', int),
    ('protocol', dict),
    ('network', dict),
    ('data', dict),
    ('files', list),
    ('reference', dict),
)


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

    ``path``: of the file. ``sha256``: its hash. ``files``: the inputs, in the order of the tools.
    ``heads``: name -> channels of the checkpoint. ``document``: the JSON document: layout, dtype, batch,
    protocol, network (arch, weights' sha256), data (annotations' sha256, channels), reference, versions.
    """

    path: str
    sha256: str
    files: Tuple[InputFile, ...]
    heads: 'OrderedDict[str, int]'
    document: Dict[str, Any]

    @property
    def spec(self) -> InputSpec:
        """How images were fitted to the input."""
        protocol = self.document['protocol']
        normalization = Normalization(*(tuple(protocol['normalization'][key]) for key in ('mean', 'std')))
        return InputSpec(protocol['height'], protocol['width'], normalization=normalization)

    @property
    def cells(self) -> Tuple[int, int]:
        """(height, width) of the outputs."""
        ratio = self.document['protocol']['down_ratio']
        return self.spec.height // ratio, self.spec.width // ratio

    @property
    def image_ids(self) -> List[int]:
        """The ids of all images."""
        return [image.id for file in self.files for image in file.images]

    def places(self) -> Dict[int, Tuple[int, int]]:
        """Image id -> (position of its file, position in the file)."""
        return {
            image.id: (position, place)
            for position, file in enumerate(self.files)
            for place, image in enumerate(file.images)
        }

    def check_weights(self, digest: str, name: str) -> None:
        """Raise OptionError if the inputs and references are not of the checkpoint with this SHA-256."""
        recorded = self.document['network'].get('weights_sha256')
        if recorded != digest:
            raise OptionError(
                f'{display_path(self.path)} was written for other weights (sha256 {str(recorded)[:12]}...,'
                f' not {digest[:12]}... of {name}): give the checkpoint that dump-inputs had, or dump again'
            )

    def check_data(self, annotations: str) -> None:
        """Raise OptionError if the inputs are not of the data set with these annotations."""
        recorded = self.document['data']
        if recorded.get('annotations_sha256') != sha256(annotations):
            raise OptionError(
                f'{display_path(self.path)} was written for other data ({recorded.get("annotations")}), and'
                f' {display_path(annotations)} differs: give the same --data, or dump again'
            )


def image_entry(image: Image) -> Dict[str, Any]:
    """An image as JSON; ``matrix``: from its pixels to the input's, for readers that do not know the
    geometry."""
    return {
        'id': image.id,
        'file_name': image.file_name,
        'centre': list(image.geometry.centre),
        'scale': list(image.geometry.scale),
        'matrix': image.geometry.to_input().ravel().tolist(),
        'crc32': image.crc32,
    }


def write_manifest(folder: str, document: Dict[str, Any], files: List[InputFile]) -> str:
    """Write manifest.json; returns its path.

    Args:
        folder: where it goes.
        document: all but the files.
        files: the inputs.

    Raises:
        OutputError: it cannot be written.
    """
    entries = [
        {'file': file.name, 'sha256': file.sha256, 'images': [image_entry(image) for image in file.images]}
        for file in files
    ]
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
    except FileNotFoundError:
        raise DataError(
            f'no manifest {shown}: centernet dump-inputs writes it; name it with --manifest'
        ) from None
    except OSError as error:
        raise DataError(f'cannot read the manifest {shown}: {error.strerror}') from None
    except (ValueError, RecursionError):
        raise DataError(f'the manifest {shown} is damaged: dump the inputs again') from None
    if not isinstance(document, dict) or 'manifest' not in document:
        raise DataError(f'{shown} is not a manifest of centernet dump-inputs')
    if document['manifest'] != _VERSION:
        raise DataError(f'the manifest {shown} is of another version of centernet: dump the inputs again')
    try:
        return _parse(path, document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise DataError(
            f'the manifest {shown} lacks entries or has wrong ones: dump the inputs again'
        ) from None


def _parse(path: str, document: Dict[str, Any]) -> Manifest:
    for name, kind in _ENTRIES:
        if type(document[name]) is not kind:
            raise TypeError(name)
    protocol, heads = document['protocol'], document['network']['heads']
    size = (int(protocol['width']), int(protocol['height']))
    output = tuple(side // int(protocol['down_ratio']) for side in size)
    files = tuple(
        InputFile(
            str(entry['file']),
            tuple(
                Image(
                    int(image['id']),
                    str(image['file_name']),
                    Geometry(_pair(image['centre']), _pair(image['scale']), size, output),
                    int(image['crc32']),
                )
                for image in entry['images']
            ),
            entry['sha256'],
        )
        for entry in document['files']
    )
    names = [file.stem for file in files]
    if not files or len(set(names)) < len(names) or min(size + output) < 1:
        raise ValueError('files')
    channels = OrderedDict((str(name), int(count)) for name, count in heads.items())
    found = Manifest(path, sha256(path), files, channels, document)
    found.spec  # noqa: B018, whose numbers it checks
    return found


def _pair(values: Any) -> Tuple[float, float]:
    first, second = values
    return float(first), float(second)
