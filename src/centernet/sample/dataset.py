"""Writes the sample's validation set as a folder in COCO's layout."""

import hashlib
import json
import os
import shutil
import tempfile

import cv2
import numpy as np

from ..errors import OutputError
from ..files import ensure_folder, lock, remove_leftovers
from .scene import CATEGORIES, draw_scene

#: how many pictures the sample has
IMAGES = 200
#: validation scenes are numbered under this key (training scenes have another)
VALIDATION_KEY = 2017
#: raise it when the pictures or annotations change, so that folders written before are written anew
VERSION = 1

ANNOTATIONS = os.path.join('annotations', 'instances_val2017.json')
PICTURES = 'val2017'


def sample_folder(parent, images=IMAGES):
    """The sample's data set in ``<parent>/sample``, see :func:`write_sample`."""
    return write_sample(os.path.join(parent, 'sample'), images)


def write_sample(folder, images=IMAGES):
    """The sample's data set as a folder in COCO's layout, written where it is missing.

    Args:
        folder: the folder.
        images: how many pictures, counted from the first.

    Returns:
        Absolute path of the folder: ``annotations/instances_val2017.json`` and ``val2017/*.png``.

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
            raise OutputError(
                f'{folder} exists and is not the built-in sample; remove it, or choose another output folder'
            )
    temporary = handle = None
    try:
        prefix = os.path.join(parent, f'.{name}.')
        remove_leftovers(prefix)
        temporary = tempfile.mkdtemp(prefix=f'.{name}.', dir=parent)
        handle = os.open(temporary, os.O_RDONLY)
        lock(handle)
        os.chmod(temporary, 0o755)  # mkdtemp makes it private
        write_folder(temporary, images, mark)
        if os.path.lexists(folder):
            shutil.rmtree(folder)
        os.rename(temporary, folder)
    except OSError as error:
        if _read_mark(folder) == mark:  # another process was faster
            return folder
        raise OutputError(f'cannot write the sample to {folder}: {error.strerror or error}') from error
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
        if handle is not None:
            os.close(handle)
    return folder


def _read_mark(folder):
    """Which sample a folder holds, or None where it holds none."""
    try:
        with open(os.path.join(folder, ANNOTATIONS), encoding='utf-8') as file:
            return json.load(file)['info']['sample']
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_folder(folder, images, mark=None, sizes=None, suffix='.png'):
    """Draw a data set into a folder that has none yet.

    Args:
        folder: gets ``annotations/instances_val2017.json`` and ``val2017/``.
        images: how many pictures.
        mark: written into the annotations' info.
        sizes: a list of (width, height), one per picture; None draws small ones.
        suffix: of the pictures, which says their format.

    Raises:
        OSError: it cannot be written.
    """
    os.makedirs(os.path.join(folder, PICTURES))
    os.makedirs(os.path.join(folder, 'annotations'))
    digest = hashlib.sha256()
    records, annotations = [], []
    for index in range(images):
        scene = draw_scene([VALIDATION_KEY, index], size=None if sizes is None else sizes[index])
        digest.update(scene.image.tobytes())
        height, width = scene.image.shape[:2]
        # ids have gaps too
        record = {
            'id': 139 + 7 * index,
            'file_name': f'{139 + 7 * index:012d}{suffix}',
            'width': width,
            'height': height,
            'license': 1,
        }
        encoded, content = cv2.imencode(suffix, scene.image)
        if not encoded:
            raise OSError('the picture {} cannot be encoded'.format(record['file_name']))
        with open(os.path.join(folder, PICTURES, record['file_name']), 'wb') as file:
            file.write(content.tobytes())
        records.append(record)
        found = [_annotation(shape, width, height) for shape in scene.shapes]
        found += [_crowd(crowd, width, height) for crowd in scene.crowds]
        for entry in found:
            annotations.append(dict(entry, id=1000 + len(annotations), image_id=record['id']))
    document = {
        'info': {
            'description': 'Shapes on textured grounds, drawn by centernet.sample',
            'version': f'{VERSION}',
            'sample': mark,
            'pixels_sha256': digest.hexdigest(),
        },
        'licenses': [{'id': 1, 'name': "the project's own", 'url': ''}],
        'images': records,
        'annotations': annotations,
        'categories': [
            {'id': identity, 'name': name, 'supercategory': 'shape'} for identity, name in CATEGORIES
        ],
    }
    with open(os.path.join(folder, ANNOTATIONS), 'w', encoding='utf-8') as file:
        json.dump(document, file, sort_keys=True)


def _annotation(shape, width, height):
    """A shape as an annotation, its outline clipped to the picture."""
    outline = [round(value, 2) for point in _clip(shape.outline, width, height) for value in point]
    return {
        'category_id': CATEGORIES[shape.category][0],
        'bbox': _xywh(shape.box),
        'area': round(shape.area, 2),
        'segmentation': [outline],
        'iscrowd': 0,
    }


def _clip(outline, width, height):
    """The part of a convex polygon that lies in the picture (Sutherland and Hodgman, 1974)."""
    for axis, sign, limit in ((0, -1, 0), (0, 1, width), (1, -1, 0), (1, 1, height)):
        kept = []
        for start, end in zip(outline[-1:] + outline[:-1], outline):
            # how far each end lies outside of this border
            out, far = sign * (start[axis] - limit), sign * (end[axis] - limit)
            if (out > 0) != (far > 0):
                share = out / (out - far)
                kept.append(tuple(a + share * (b - a) for a, b in zip(start, end)))
            if far <= 0:
                kept.append(end)
        outline = kept
    return outline


def _crowd(shapes, width, height):
    """Shapes of one category as one crowd annotation with an uncompressed run-length mask, as COCO has
    them."""
    box = [
        min(shape.box[0] for shape in shapes),
        min(shape.box[1] for shape in shapes),
        max(shape.box[2] for shape in shapes),
        max(shape.box[3] for shape in shapes),
    ]
    mask = np.any([shape.mask for shape in shapes], axis=0)
    return {
        'category_id': CATEGORIES[shapes[0].category][0],
        'bbox': _xywh(box),
        'area': float(mask.sum()),
        'segmentation': {'size': [height, width], 'counts': _run_lengths(mask)},
        'iscrowd': 1,
    }


def _xywh(box):
    return [round(value, 2) for value in (box[0], box[1], box[2] - box[0], box[3] - box[1])]


def _run_lengths(mask):
    """Lengths of the runs of 0 and 1 in turn, column by column, starting with 0 (COCO's uncompressed RLE)."""
    flat = np.concatenate([[False], mask.ravel(order='F'), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    ends = np.append(edges, mask.size) if len(edges) == 0 or edges[-1] != mask.size else edges
    return np.diff(np.concatenate([[0], ends])).tolist()
