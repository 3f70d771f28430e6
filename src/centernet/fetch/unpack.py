"""Extract images and annotations from COCO's zip archives, each file whole or not at all."""

import os
import re
import shutil
import struct
import zipfile
import zlib
from typing import List, Union

from ..errors import FetchError
from ..files import ensure_folder
from .catalog import ZippedFile, ZippedFolder
from .download import matches, size_of, writing

_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,  # a compression that zipfile does not know
    RuntimeError,  # an encrypted file
    ValueError,
)


def unpack(archive: str, contents: Union[ZippedFile, ZippedFolder], folder: str) -> None:
    """Extract files into ``folder``, under their paths in the archive. Files that exist with the right size
    are kept, so that a later call resumes an interrupted one.

    Args:
        archive: path of the zip archive.
        contents: what to extract.
        folder: the destination.

    Raises:
        FetchError: the archive is damaged, or does not contain what it should.
        OutputError: a file cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            members = _select(source, contents)
            ensure_folder(os.path.join(folder, os.path.dirname(members[0].filename)))
            for info in members:
                path = os.path.join(folder, info.filename)
                if isinstance(contents, ZippedFile) or size_of(path) != info.file_size:
                    _extract(source, info, path, contents)
    except _DAMAGED as error:
        raise FetchError(f'{archive} cannot be unpacked: {error}') from error
    except OSError as error:  # of the archive: its directory may point anywhere
        raise FetchError(f'{archive} cannot be read: {error.strerror or error}') from error


def _select(source: zipfile.ZipFile, contents) -> List[zipfile.ZipInfo]:
    """The members to extract. Nothing is extracted from an archive with a name that leads out of the
    folder."""
    if isinstance(contents, ZippedFile):
        found = [info for info in source.infolist() if info.filename == contents.path]
        if [info.file_size for info in found] != [contents.size]:
            raise FetchError(
                f'{source.filename} does not contain {contents.path} once, with {contents.size} bytes'
            )
        return found
    prefix = contents.path + '/'
    found = [
        info for info in source.infolist() if info.filename.startswith(prefix) and info.filename != prefix
    ]
    plain = re.compile(re.escape(prefix) + r'\w[\w.-]*' + re.escape(contents.suffix) + r'\Z', re.ASCII)
    for info in found:
        if not plain.match(info.filename):
            raise FetchError(f'{source.filename} contains an unexpected file: {info.filename!r}')
    if len({info.filename for info in found}) != contents.count or len(found) != contents.count:
        raise FetchError(
            f'{source.filename} contains {len(found)} files in {prefix}, expected {contents.count}'
        )
    if sum(info.file_size for info in found) > contents.max_size:
        raise FetchError(f'{source.filename}: {prefix} exceeds {contents.max_size} bytes')
    return found


def _extract(source, info, path, contents):
    """Write one file under a temporary name, verify and rename it. zipfile compares its CRC."""
    temporary = path + '.part'
    with source.open(info) as packed, writing(temporary), open(temporary, 'wb') as output:
        shutil.copyfileobj(packed, output, 1 << 20)
    if isinstance(contents, ZippedFile):
        valid = matches(contents, temporary)
    else:
        valid = size_of(temporary) == info.file_size
    with writing(path):
        if not valid:
            os.unlink(temporary)
            raise FetchError(f'{source.filename}: {info.filename} is invalid (size or SHA-256)')
        os.replace(temporary, path)
