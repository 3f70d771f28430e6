"""Pictures for the page: small JPEGs, with boxes as vectors over them."""

import base64
import os
from typing import List, NamedTuple, Sequence, Tuple

import cv2
import numpy as np

from ..coco import CocoData, read_image
from ..drawing import reduce_picture
from ..system.errors import DataError
from .matches import Matches

#: the longer side in pixels, and the quality of the JPEG: up to about 90 kB, of which a page has 24
_LARGEST, _QUALITY = 640, 80


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
        small, _ = reduce_picture(image, _LARGEST)
        encoded = cv2.imencode('.jpg', small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
        data_url = base64.b64encode(encoded.tobytes()).decode('ascii')
        pictures.append(Picture(image_id, os.path.basename(path), image.shape[1::-1], data_url))
    return pictures, problems


class Outline(NamedTuple):
    """A box, clipped to its picture: ``true``, ``false`` or ``missed``, its left and upper side, its size,
    its label, and the baseline of the label; all in pixels of the image."""

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


def make_view(matches: Matches, score: float, picture: Picture, names: Sequence[str]) -> View:
    """Return the boxes and the caption of an image.

    Args:
        matches: the run.
        score: detections with at least this score count.
        picture: the image.
        names: of the classes.
    """
    true, false, missed = matches.verdicts(score)
    parts = (  # what comes first is below
        ('true', true, matches.detections),
        ('missed', missed, matches.objects),
        ('false', false, matches.detections),
    )
    width, height = picture.size
    font_size = max(width, 1.3 * height) / 45
    outlines: List[Outline] = []
    captions = {}
    for kind, chosen, table in parts:
        numbers = np.flatnonzero(chosen & (table.images == picture.image_id))
        labels = [names[index] for index in table.classes[numbers]]
        if kind != 'missed':
            labels = [f'{label} {value:.2f}' for label, value in zip(labels, table.scores[numbers])]
        listed = ' ({})'.format(', '.join(labels)) if labels and kind != 'true' else ''
        captions[kind] = f'{len(labels)} {kind}{listed}'
        for label, (x, y, *size) in zip(labels, table.boxes[numbers].tolist()):
            left, top = max(0.0, x), max(0.0, y)
            right, bottom = min(width, x + size[0]), min(height, y + size[1])
            if right > left and bottom > top:
                baseline = _baseline(left, top, font_size, outlines)
                outlines.append(Outline(kind, left, top, right - left, bottom - top, label, baseline))
    return View(outlines, ', '.join(captions[kind] for kind in ('true', 'false', 'missed')), font_size)


def _baseline(left: float, top: float, font_size: float, outlines: Sequence[Outline]) -> float:
    """The first height for a label, from above its box downwards, at which it covers no other label."""
    baseline = top - 0.35 * font_size
    while baseline < font_size or any(
        abs(baseline - other.baseline) < font_size and abs(left - other.x) < 7 * font_size
        for other in outlines
    ):
        baseline += 0.5 * font_size
    return baseline
