"""Image files as the network's authors read them."""

import cv2
import numpy as np

from ..errors import DataError


def read_image(path: str) -> np.ndarray:
    """Read an image as ``cv2.imread(path, IMREAD_COLOR)`` does, upstream's way.

    Grey-scale is repeated into three channels, CMYK is converted, 16 bits are cut to their upper 8, alpha is dropped, and EXIF
    orientation is applied. A JPEG that ends before its end-of-image marker is refused (OpenCV would fill the rest with grey);
    bytes after the marker do no harm.

    Returns:
        uint8 [H, W, 3], BGR.

    Raises:
        DataError: there is no such file, or it cannot be read or decoded.
    """
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except FileNotFoundError:
        raise DataError('no such image file: {}'.format(path)) from None
    except OSError as error:
        raise DataError('cannot read the image file {}: {}'.format(path, error.strerror)) from None
    if not data:
        raise DataError('the image file {} is empty'.format(path))
    if _is_cut_jpeg(data):
        raise DataError('the image file {} is truncated: a JPEG of {} bytes without an end'.format(path, len(data)))
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:  # more pixels than OpenCV allows
        raise DataError('cannot decode the image file {}: {}'.format(path, str(error).strip())) from None
    if image is None:
        raise DataError('cannot decode the image file {} ({} bytes): truncated, damaged or no image'.format(path, len(data)))
    return image


def _is_cut_jpeg(data):
    """Whether the bytes are a JPEG that stops inside its coded pixels (ITU-T T.81, annex B).

    An embedded preview has an end marker of its own, so the search starts behind the header's segments. In coded pixels a byte
    FF is always followed by 00 or a restart marker: FF D9 there is the end.
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
            at += 2 + int.from_bytes(data[at + 2:at + 4], 'big')
    return False  # not in this shape: the decoder will say
