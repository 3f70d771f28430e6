"""Pictures as files, and smaller ones."""

import os
from typing import Tuple

import cv2
import numpy as np

from ..system.errors import OutputError
from ..system.files import atomic_write, display_path

#: kinds of files that a picture keeps; others become PNG
SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


def save_picture(path: str, picture: np.ndarray) -> None:
    """Write a picture, uint8 [H, W, 3], BGR, atomically, in the format of its name.

    Raises:
        OutputError: the picture cannot be encoded in this format, such as a JPEG of more than 65,535 pixels a
            side, or the file cannot be written.
    """
    suffix = os.path.splitext(path)[1].lower()
    options = [cv2.IMWRITE_JPEG_QUALITY, 92] if suffix in ('.jpg', '.jpeg') else []
    try:
        encoded, data = cv2.imencode(suffix, picture, options)
    except cv2.error:
        encoded = False
    if not encoded:
        height, width = picture.shape[:2]
        size = f'{width} x {height} pixels'
        raise OutputError(f'cannot write {display_path(path)}: {size} cannot be encoded as {suffix}')
    with atomic_write(path, 'wb') as file:
        file.write(data.tobytes())


def reduce_picture(picture: np.ndarray, largest: int) -> Tuple[np.ndarray, float]:
    """Return a picture whose longer side has at most ``largest`` pixels, and its scale, up to 1."""
    height, width = picture.shape[:2]
    factor = min(1.0, largest / max(height, width))
    if factor < 1:
        size = max(1, round(width * factor)), max(1, round(height * factor))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return picture, factor
