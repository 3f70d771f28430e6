"""Write the sample's validation set as a folder in COCO's layout."""

import hashlib
import json
import os
import shutil
import tempfile
from typing import Any, Dict, Optional, Sequence, Tuple

import cv2
import numpy as np

from ..system.errors import OutputError
from ..system.files import display_path, ensure_folder, lock, remove_leftovers
from .scene import CATEGORIES, draw_scene

#: number of pictures in the sample
IMAGES = 200
#: first number of the seed of validation scenes; training scenes have another
VALIDATION_KEY = 2017
#: increase it when pictures or annotations change, so that existing folders are replaced
VERSION = 1

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
    if os.path.lexists(folder) and not (os.path.isdir(folder) and not os.listdir(folder)):
        found = _read_mark(folder)
        if found == mark:
            return folder
        if found is None:
            shown = display_path(folder)
            raise OutputError(f'{shown} already exists and is not the built-in sample: choose another folder')
    temporary = handle = None
    try:
        prefix = os.path.join(parent, f'.{name}.')
        remove_leftovers(prefix)
        temporary = tempfile.mkdtemp(prefix=f'.{name}.', dir=parent)
        handle = os.open(temporary, os.O_RDONLY)
        lock(handle)
        os.chmod(temporary, 0o755)  # mkdtemp creates private folders
        write_folder(temporary, images, mark)
        if os.path.lexists(folder):
            shutil.rmtree(folder)
        os.rename(temporary, folder)
    except OSError as error:
        if _read_mark(folder) == mark:  # another process was faster
            return folder
        shown = display_path(folder)
        raise OutputError(f'cannot write the sample to {shown}: {error.strerror or error}') from error
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
        if handle is not None:
            os.close(handle)
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
    digest = hashlib.sha256()
    records, annotations = [], []
    for index in range(images):
        scene = draw_scene([VALIDATION_KEY, index], size=None if sizes is None else sizes[index])
        digest.update(scene.image.tobytes())
        height, width = scene.image.shape[:2]
        # ids have gaps, as in COCO
        image_id = 139 + 7 * index
        name = f'{image_id:012d}{suffix}'
        records.append({'id': image_id, 'file_name': name, 'width': width, 'height': height, 'license': 1})
        with open(os.path.join(folder, PICTURES, name), 'wb') as file:
            file.write(cv2.imencode(suffix, scene.image)[1].tobytes())
        found = [_annotation(shape, width, height) for shape in scene.shapes]
        found += [_crowd(crowd, width, height) for crowd in scene.crowds]
        for entry in found:
            annotations.append(dict(entry, id=1000 + len(annotations), image_id=image_id))
    document = {
        'info': {
            'description': 'Shapes on textured grounds, drawn by centernet.sample',
            'version': str(VERSION),
            'sample': mark,
            'pixels_sha256': digest.hexdigest(),
        },
        'licenses': [{'id': 1, 'name': "the project's own", 'url': ''}],
        'images': records,
        'annotations': annotations,
        'categories': [{'id': number, 'name': name, 'supercategory': 'shape'} for number, name in CATEGORIES],
    }
    with open(os.path.join(folder, ANNOTATIONS), 'w', encoding='utf-8') as file:
        json.dump(document, file, sort_keys=True)


def _annotation(shape, width, height):
    """Return a shape as an annotation, with its outline clipped to the picture."""
    outline = [round(value, 2) for point in _clip(shape.outline, width, height) for value in point]
    return {
        'category_id': CATEGORIES[shape.category][0],
        'bbox': _xywh(shape.box),
        'area': round(shape.area, 2),
        'segmentation': [outline],
        'iscrowd': 0,
    }


def _clip(outline, width, height):
    """Clip a convex polygon to the picture (Sutherland and Hodgman, 1974)."""
    for axis, sign, limit in ((0, -1, 0), (0, 1, width), (1, -1, 0), (1, 1, height)):
        kept = []
        for start, end in zip(outline[-1:] + outline[:-1], outline):
            # distance of each end outside this border
            out, far = sign * (start[axis] - limit), sign * (end[axis] - limit)
            if (out > 0) != (far > 0):
                share = out / (out - far)
                kept.append(tuple(a + share * (b - a) for a, b in zip(start, end)))
            if far <= 0:
                kept.append(end)
        outline = kept
    return outline


def _crowd(shapes, width, height):
    """Return shapes of one category as one crowd annotation, with COCO's uncompressed run-length mask."""
    left, top, right, bottom = zip(*(shape.box for shape in shapes))
    mask = np.any([shape.mask for shape in shapes], axis=0)
    return {
        'category_id': CATEGORIES[shapes[0].category][0],
        'bbox': _xywh((min(left), min(top), max(right), max(bottom))),
        'area': float(mask.sum()),
        'segmentation': {'size': [height, width], 'counts': _run_lengths(mask)},
        'iscrowd': 1,
    }


def _xywh(box):
    return [round(value, 2) for value in (box[0], box[1], box[2] - box[0], box[3] - box[1])]


def _run_lengths(mask):
    """Return the lengths of alternating runs of 0 and 1, column by column (COCO's uncompressed RLE)."""
    flat = np.concatenate([[False], mask.ravel(order='F'), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    ends = np.append(edges, mask.size) if len(edges) == 0 or edges[-1] != mask.size else edges
    return np.diff(np.concatenate([[0], ends])).tolist()
