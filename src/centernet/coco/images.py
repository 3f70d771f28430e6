"""Image files, decoded as the network's authors decode them."""

import os
import stat

import cv2
import numpy as np

from ..system.errors import DataError


def read_image(path: str) -> np.ndarray:
    """Read an image like ``cv2.imread(path, IMREAD_COLOR)``, the function that upstream uses.

    Greyscale is repeated into three channels, CMYK is converted, 16-bit values keep their upper 8 bits, alpha
    is dropped, and EXIF orientation is applied. A JPEG without an end-of-image marker is truncated and raises
    an error (OpenCV would fill the missing part with grey); bytes after the marker are ignored.

    Returns:
        uint8 [H, W, 3], BGR.

    Raises:
        DataError: the file is missing, cannot be read or cannot be decoded.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe would never end
            raise DataError(f'cannot read the image file {path}: not a regular file')
        with open(path, 'rb') as file:
            data = file.read()
    except OSError as error:
        raise DataError(f'cannot read the image file {path}: {error.strerror}') from None
    if _is_truncated_jpeg(data):
        what = f'a JPEG of {len(data)} bytes without an end-of-image marker'
        raise DataError(f'the image file {path} is truncated: {what}')
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:  # more pixels than OpenCV allows
        raise DataError(f'cannot decode the image file {path}: {str(error).strip()}') from None
    if image is None:
        what = f'{len(data)} bytes that are truncated, damaged or not an image'
        raise DataError(f'cannot decode the image file {path}: {what}')
    return image


def _is_truncated_jpeg(data: bytes) -> bool:
    """Return whether the data are a JPEG that ends inside its coded pixels (ITU-T T.81, annex B).

    An embedded preview has an end-of-image marker of its own, so the search starts after the header's
    segments. In coded pixels a byte FF is always followed by 00 or a restart marker: FF D9 there is the end.
    """
    if not data.startswith(b'\xff\xd8'):
        return False
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker == 0xDA:  # start of scan
            return data.rfind(b'\xff\xd9', at) < 0
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
    return False  # an unusual structure: leave it to the decoder
