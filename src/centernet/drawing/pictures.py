"""Pictures as files."""

import os

import cv2
import numpy as np

from ..errors import OutputError
from ..files import atomic_write, display_path

#: kinds of files that a picture keeps; others become PNG
SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


def encode_picture(picture: np.ndarray, suffix: str = '.png') -> bytes:
    """Encode a picture, uint8 [H, W, 3], BGR.

    Raises:
        OutputError: it cannot be encoded in this format, such as a JPEG of more than 65,535 pixels a side.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, 92] if suffix in ('.jpg', '.jpeg') else []
    try:
        encoded, data = cv2.imencode(suffix, picture, options)
    except cv2.error:
        encoded = False
    if not encoded:
        raise OutputError(
            f'a picture of {picture.shape[1]} x {picture.shape[0]} cannot be encoded as {suffix}'
        )
    return data.tobytes()


def save_picture(path: str, picture: np.ndarray) -> None:
    """Write a picture, atomically, in the format of its name.

    Raises:
        OutputError: the picture cannot be encoded or the file cannot be written.
    """
    try:
        data = encode_picture(picture, os.path.splitext(path)[1].lower())
    except OutputError as error:
        raise OutputError(f'cannot write {display_path(path)}: {error}') from None
    with atomic_write(path, 'wb') as file:
        file.write(data)
