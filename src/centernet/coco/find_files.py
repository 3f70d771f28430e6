"""Where the annotations file and the images of a data set are."""

import collections
import glob
import os
import re
from typing import Any, Dict, List, Optional, Tuple

from ..system.errors import DataError


def find_annotations(root: str) -> str:
    """Return the annotations file in a folder: in ``annotations``, the file ``instances_val2017.json`` or the
    only ``.json`` file; else the only ``.json`` file in the folder itself.

    Raises:
        DataError: there is no such file, or there are several.
    """
    standard = os.path.join(root, 'annotations', 'instances_val2017.json')
    if os.path.isfile(standard):
        return standard
    for folder in (os.path.dirname(standard), root):
        files = sorted(glob.glob(os.path.join(glob.escape(folder), '*.json')))
        if len(files) > 1:
            names = ', '.join(map(os.path.basename, files))
            raise DataError(f'{folder} has several annotations files ({names}): name one with --annotations')
        if files:
            return files[0]
    raise DataError(
        f'no annotations file at {standard}, nor another .json in {root}: give --annotations and --images'
    )


def find_images(
    root: Optional[str], annotations: str, images: Optional[str], entries: List[Dict[str, Any]]
) -> Tuple[str, List[str]]:
    """Return the first folder that contains any of the images; usually this looks at a single file.

    Names as they are come first. Names that are not found so, and those that only make sense elsewhere
    (absolute, or with backslashes), stand for the longest end of them that exists in the folder, and
    ``file_name`` is set to it.

    Args:
        root: the data set's folder, if it was given.
        annotations: the annotations file.
        images: the folder of the images, if it was given.
        entries: the entries of the annotations file's ``images``.

    Returns:
        The folder, and a line for each assumption about the names.

    Raises:
        DataError: no folder or image is found, or two images are the same file by the ends of their names.
    """
    folders = [images] if images else _folders(root, annotations)
    if images and not os.path.isdir(images):
        raise DataError(f'no such images folder: {images}')
    names = [entry['file_name'] for entry in entries]
    foreign = [entry for entry in entries if re.search(r'\\|^/|^[A-Za-z]:', entry['file_name'])]
    for find, moved in ((_as_it_is, foreign), (_longest_end, entries)):
        for folder in filter(os.path.isdir, folders):
            if any(find(folder, name) for name in names):
                return folder, _shorten(folder, moved, entries)
    raise DataError(
        f'none of the {len(names)} images of {annotations} was found: looked for {names[0][:200]}'
        f' and so on in {", ".join(folders)}; specify the folder of the images with --images, or another'
        ' annotations file with --annotations'
    )


def _folders(root: Optional[str], annotations: str) -> List[str]:
    """Where the images of an annotations file may be, beside it last."""
    beside = os.path.dirname(os.path.abspath(annotations))
    if root is None:
        root = os.path.dirname(beside) if os.path.basename(beside) == 'annotations' else beside
    split = os.path.splitext(os.path.basename(annotations))[0].replace('instances_', '', 1)
    folders = [*(os.path.join(root, *parts) for parts in ((split,), ('images', split), ('images',))), root]
    return folders if os.path.abspath(root) == beside else [*folders, beside]


def _shorten(folder: str, moved: List[Dict[str, Any]], entries: List[Dict[str, Any]]) -> List[str]:
    """Set the file names in ``moved`` that do not exist to their longest ends that do; return the notes."""
    shortened = []  # (name in the annotations file, its end)
    for entry in moved:
        name = entry['file_name']
        end = not _as_it_is(folder, name) and _longest_end(folder, name)
        if end:
            shortened.append((name, end))
            entry['file_name'] = end
    counts = collections.Counter(entry['file_name'] for entry in entries)
    for name, end in shortened:
        if counts[end] > 1:
            raise DataError(f'{name[:200]} and another image would both be {end} in {folder}: give --images')
    if not shortened:
        return []
    return [
        f'images: {len(shortened)} of {len(entries)} were found by the end of their names, such as'
        f' {shortened[0][1]} for {shortened[0][0][:200]}'
    ]


def _as_it_is(folder: str, name: str) -> bool:
    return os.path.isfile(os.path.join(folder, name))


def _longest_end(folder: str, name: str) -> Optional[str]:
    """Return the longest end of a name, in whole parts, that is a file in the folder."""
    parts = [part for part in name.replace('\\', '/').split('/') if part not in ('', '.')]
    ends = [os.path.join(*parts[start:]) for start in range(len(parts)) if '..' not in parts[start:]]
    return next((end for end in ends if _as_it_is(folder, end)), None)
