"""Pictures for the page: small JPEGs, with boxes as vectors over them."""

import base64
import os
from typing import Dict, List, NamedTuple, Sequence, Tuple

import cv2
import numpy as np

from ..coco import CocoData, read_image
from ..errors import DataError
from .images import ImageErrors, Mark

#: the longer side in pixels, and the bytes of a file, of which a page has up to 24
_LARGEST, _MOST_BYTES = 640, 90_000
_QUALITIES = (85, 75, 60, 45, 30, 15)


class Picture(NamedTuple):
    """An image of the data set. ``name``: its file's. ``size``: its width and height in pixels. ``data``: a
    JPEG in base64, which may be smaller."""

    image_id: int
    name: str
    size: Tuple[int, int]
    data: str


def load_pictures(data: CocoData, image_ids: Sequence[int]) -> Tuple[List[Picture], List[str]]:
    """Return the pictures of images, and a line for each that cannot be read."""
    pictures, problems = [], []
    for image_id in image_ids:
        path = data.file(image_id)
        try:
            image = read_image(path)
        except DataError as error:
            problems.append(str(error))
            continue
        size = image.shape[1], image.shape[0]
        pictures.append(Picture(image_id, os.path.basename(path), size, _encode(image)))
    return pictures, problems


def _encode(image: np.ndarray) -> str:
    """Return an image as a JPEG in base64, reduced to :data:`_LARGEST` pixels and :data:`_MOST_BYTES`."""
    factor = _LARGEST / max(image.shape[:2])
    if factor < 1:
        size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    encoded = b''
    for quality in _QUALITIES:
        encoded = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(encoded) <= _MOST_BYTES:
            break
    return base64.b64encode(encoded).decode('ascii')


class Outline(NamedTuple):
    """A box on a picture, clipped to it: what it is, its left and upper side, its size, its label, and the
    baseline of the label; all in pixels of the image."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    label: str
    baseline: float


class View(NamedTuple):
    """What the page shows of an image in one run. ``font_size``: of labels, in pixels of the image."""

    outlines: List[Outline]
    caption: str
    font_size: float


def make_view(errors: ImageErrors, size: Tuple[int, int], names: Sequence[str]) -> View:
    """Return the boxes and the caption of an image.

    Args:
        errors: its marks.
        size: its width and height.
        names: of the classes.
    """
    outlines: List[Outline] = []
    font_size = max(size[0], 1.3 * size[1]) / 45
    for mark in sorted(errors.marks, key=lambda mark: _ORDER[mark.kind]):
        x1, y1 = max(0.0, mark.box[0]), max(0.0, mark.box[1])
        x2, y2 = min(size[0], mark.box[0] + mark.box[2]), min(size[1], mark.box[1] + mark.box[3])
        if x2 > x1 and y2 > y1:
            baseline = y1 - 0.35 * font_size
            while baseline < font_size or any(
                abs(baseline - other.baseline) < font_size and abs(x1 - other.x) < 7 * font_size
                for other in outlines
            ):
                baseline += 0.5 * font_size
            outlines.append(Outline(mark.kind, x1, y1, x2 - x1, y2 - y1, _label(mark, names), baseline))
    found: Dict[str, List[str]] = {kind: [] for kind in _ORDER}
    for mark in errors.marks:
        found[mark.kind].append(_label(mark, names))
    parts = ['{} true'.format(len(found['true']))]
    for kind in ('false', 'missed'):
        listed = ' ({})'.format(', '.join(found[kind])) if found[kind] else ''
        parts.append(f'{len(found[kind])} {kind}{listed}')
    return View(outlines, ', '.join(parts), font_size)


#: what is drawn first is below
_ORDER = {'true': 0, 'missed': 1, 'false': 2}


def _label(mark: Mark, names: Sequence[str]) -> str:
    score = '' if mark.score is None else f' {mark.score:.2f}'
    return names[mark.class_index] + score
