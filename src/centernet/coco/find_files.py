"""Where the annotations file and the images of a data set are."""

import glob
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional

from ..errors import DataError

#: of a file name from another place, at most so many parts at its end are looked for
_DEEPEST = 16


class Images(NamedTuple):
    """The folder of the images, and a line for each assumption about their names."""

    folder: str
    notes: List[str]


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
            raise DataError(
                '{} contains several annotations files ({}): specify one with --annotations'.format(
                    folder, ', '.join(os.path.basename(file) for file in files)
                )
            )
        if files:
            return files[0]
    raise DataError(
        f'no annotations file: looked for {standard}, any other .json file in that folder, and one in {root};'
        ' specify it with --annotations, and the folder of its images with --images'
    )


def find_images(
    root: Optional[str], annotations: str, images: Optional[str], entries: List[Dict[str, Any]]
) -> Images:
    """Return the first folder that contains any of the images; usually this looks at a single file.

    Names as they are come first. Names that are not found so, and those that only make sense elsewhere
    (absolute, or with backslashes), stand for the longest end of them that exists in the folder, and
    ``file_name`` is set to it.

    Args:
        root: the data set's folder, if it was given.
        annotations: the annotations file.
        images: the folder of the images, if it was given.
        entries: the entries of the annotations file's ``images``.

    Raises:
        DataError: no folder or image is found, or two images are the same file by the ends of their names.
    """
    folders = _folders(root, annotations) if images is None else [images]
    if images is not None and not os.path.isdir(images):
        raise DataError(f'no such images folder: {images}')
    names = [entry['file_name'] for entry in entries]
    existing = [folder for folder in folders if os.path.isdir(folder)]
    for folder in existing:
        if any(os.path.isfile(os.path.join(folder, name)) for name in names):
            return Images(folder, _shorten(folder, list(filter(_is_foreign, entries)), entries))
    for folder in existing:
        if any(_longest_end(folder, name) for name in names):
            return Images(folder, _shorten(folder, entries, entries))
    raise DataError(
        'none of the {} images of {} was found: looked for {} and the others in {}; specify their folder with'
        ' --images, or another annotations file with --annotations'.format(
            len(names), annotations, names[0][:200], ', '.join(folders)
        )
    )


def _folders(root: Optional[str], annotations: str) -> List[str]:
    """Where the images of an annotations file may be, beside it last."""
    beside = os.path.dirname(os.path.abspath(annotations))
    if root is None:
        root = os.path.dirname(beside) if os.path.basename(beside) == 'annotations' else beside
    split = os.path.splitext(os.path.basename(annotations))[0].replace('instances_', '', 1)
    found = [os.path.join(root, *parts) for parts in ((split,), ('images', split), ('images',))]
    found.append(root)
    return found if os.path.abspath(root) == beside else found + [beside]


def _is_foreign(entry: Dict[str, Any]) -> bool:
    return bool(re.search(r'\\|^/|^[A-Za-z]:', entry['file_name']))


def _shorten(folder: str, moved: List[Dict[str, Any]], entries: List[Dict[str, Any]]) -> List[str]:
    """Set the file names in ``moved`` that do not exist to their longest ends that do; return the notes."""
    shortened = {}
    for entry in moved:
        name = entry['file_name']
        end = None if os.path.isfile(os.path.join(folder, name)) else _longest_end(folder, name)
        if end:
            shortened[entry['id']] = name
            entry['file_name'] = end
    if not shortened:
        return []
    owners = {}  # file -> the name of the image that it belongs to
    for entry in entries:
        owner = owners.setdefault(os.path.normpath(entry['file_name']), entry)
        name, other = (shortened.get(item['id'], item['file_name']) for item in (entry, owner))
        is_new = entry['id'] in shortened or owner['id'] in shortened
        if is_new and name.replace('\\', '/') != other.replace('\\', '/'):
            raise DataError(
                f'the images {other[:200]} and {name[:200]} would both be {entry["file_name"]} in {folder}:'
                ' specify the folder in which they differ with --images'
            )
    first = next(entry for entry in moved if entry['id'] in shortened)
    return [
        'images: {} of {} were found by the end of their names, such as {} for {}'.format(
            len(shortened), len(entries), first['file_name'], shortened[first['id']][:200]
        )
    ]


def _longest_end(folder: str, name: str) -> Optional[str]:
    """Return the longest end of a name, in whole parts, that is a file in the folder."""
    parts = [part for part in name.replace('\\', '/').split('/') if part not in ('', '.')][-_DEEPEST:]
    for start in range(len(parts)):
        if '..' not in parts[start:]:
            end = os.path.join(*parts[start:])
            if os.path.isfile(os.path.join(folder, end)):
                return end
    return None
