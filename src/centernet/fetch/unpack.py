"""Extract images and annotations from COCO's zip archives, each file whole or not at all."""

import os
import re
import shutil
import zipfile
import zlib
from typing import Union

from ..system.errors import FetchError
from .catalog import ZippedFile, ZippedFolder
from .download import matches, size_of, writing


def unpack(archive: str, contents: Union[ZippedFile, ZippedFolder], folder: str) -> None:
    """Extract files into ``folder``, under their paths in the archive. Files that exist with the right size
    are kept, so that a later call resumes an interrupted one.

    Args:
        archive: path of the zip archive, whose SHA-256 the caller has compared.
        contents: what to extract.
        folder: the destination.

    Raises:
        FetchError: the archive cannot be read.
        OutputError: a file cannot be written.
    """
    is_folder = isinstance(contents, ZippedFolder)
    names = re.escape(contents.path) + (r'/\w[^/]*' + re.escape(contents.suffix) if is_folder else '')
    try:
        with zipfile.ZipFile(archive) as source:
            for info in source.infolist():
                if re.fullmatch(names, info.filename):
                    path = os.path.join(folder, info.filename)
                    if size_of(path) != info.file_size or not (is_folder or matches(contents, path)):
                        _extract(source, info, path)
    except (zipfile.BadZipFile, zlib.error, OSError) as error:
        raise FetchError(f'{archive} cannot be unpacked: {error}') from error


def _extract(source, info, path):
    """Write one file under a temporary name, and rename it. zipfile compares its CRC."""
    with source.open(info) as packed, writing(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + '.part', 'wb') as output:
            shutil.copyfileobj(packed, output, 1 << 20)
        os.replace(path + '.part', path)
