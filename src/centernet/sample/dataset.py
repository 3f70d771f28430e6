"""Write the sample's validation set as a folder in COCO's layout."""

import contextlib
import json
import os
import shutil
import tempfile
from typing import Any, Dict, Optional, Sequence, Tuple

import cv2

from ..system.errors import OutputError
from ..system.files import display_path, ensure_folder
from .scene import CATEGORIES, draw_scene

#: number of pictures in the sample
IMAGES = 200
#: first number of the seed of validation scenes; training scenes have another
VALIDATION_KEY = 2017
#: increase it when pictures or annotations change, so that existing folders are replaced
VERSION = 2

ANNOTATIONS = os.path.join('annotations', 'instances_val2017.json')
PICTURES = 'val2017'


def sample_folder(parent: str, images: int = IMAGES) -> str:
    """Return the sample's data set in ``<parent>/sample``; see :func:`write_sample`."""
    return write_sample(os.path.join(parent, 'sample'), images)


def write_sample(folder: str, images: int = IMAGES) -> str:
    """Return the sample's data set as a folder in COCO's layout, writing it if it is missing.

    Args:
        folder: the folder.
        images: number of pictures.

    Returns:
        The absolute path of the folder, which contains ``annotations/instances_val2017.json`` and
        ``val2017/*.png``.

    Raises:
        OutputError: it cannot be written, or ``folder`` is something else.
    """
    parent, name = os.path.split(os.path.abspath(folder))
    folder = os.path.join(ensure_folder(parent), name)
    mark = {'version': VERSION, 'images': images}
    with contextlib.suppress(OSError):
        os.rmdir(folder)  # an empty one is replaced
    found = _read_mark(folder)
    if found == mark:
        return folder
    if found is None and os.path.lexists(folder):
        shown = display_path(folder)
        raise OutputError(f'{shown} already exists and is not the built-in sample: choose another folder')
    try:
        with tempfile.TemporaryDirectory(prefix=f'.{name}.', dir=parent) as temporary:
            drawn = os.path.join(temporary, name)
            write_folder(drawn, images, mark)
            if found is not None:
                shutil.rmtree(folder)
            os.rename(drawn, folder)
    except OSError as error:
        if _read_mark(folder) == mark:  # another process was faster
            return folder
        shown = display_path(folder)
        raise OutputError(f'cannot write the sample to {shown}: {error.strerror or error}') from error
    return folder


def _read_mark(folder):
    """Return which sample a folder contains, or None."""
    try:
        with open(os.path.join(folder, ANNOTATIONS), encoding='utf-8') as file:
            return json.load(file)['info']['sample']
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_folder(
    folder: str,
    images: int,
    mark: Optional[Dict[str, Any]] = None,
    sizes: Optional[Sequence[Tuple[int, int]]] = None,
    suffix: str = '.png',
) -> None:
    """Draw a data set into an empty folder.

    Args:
        folder: receives ``annotations/instances_val2017.json`` and ``val2017/``.
        images: number of pictures.
        mark: stored in the annotations' info.
        sizes: (width, height) of each picture; by default they are drawn at random, and small.
        suffix: of the pictures; determines their format.

    Raises:
        OSError: a file cannot be written.
    """
    os.makedirs(os.path.join(folder, PICTURES))
    os.makedirs(os.path.join(folder, 'annotations'))
    records, annotations = [], []
    for index in range(images):
        scene = draw_scene([VALIDATION_KEY, index], size=None if sizes is None else sizes[index])
        height, width = scene.image.shape[:2]
        # ids have gaps, as in COCO
        image_id = 139 + 7 * index
        name = f'{image_id:012d}{suffix}'
        records.append({'id': image_id, 'file_name': name, 'width': width, 'height': height})
        with open(os.path.join(folder, PICTURES, name), 'wb') as file:
            file.write(cv2.imencode(suffix, scene.image)[1].tobytes())
        for shapes in [*([shape] for shape in scene.shapes), *scene.crowds]:
            annotations.append(dict(_annotation(shapes), id=1000 + len(annotations), image_id=image_id))
    document = {
        'info': {'description': 'Shapes on textured grounds, drawn by centernet.sample', 'sample': mark},
        'images': records,
        'annotations': annotations,
        'categories': [{'id': number, 'name': name} for number, name in CATEGORIES],
    }
    with open(os.path.join(folder, ANNOTATIONS), 'w', encoding='utf-8') as file:
        json.dump(document, file, sort_keys=True)


def _annotation(shapes):
    """Return a shape, or the shapes of a crowd, as one annotation."""
    left, top, right, bottom = zip(*(shape.box for shape in shapes))
    x, y = min(left), min(top)
    return {
        'category_id': CATEGORIES[shapes[0].category][0],
        'bbox': [round(value, 2) for value in (x, y, max(right) - x, max(bottom) - y)],
        'area': round(sum(shape.area for shape in shapes), 2),
        'iscrowd': int(len(shapes) > 1),
    }
