"""Image files as the network's authors read them."""

import os
import re
import stat
import tempfile
from typing import Optional, Tuple

import cv2
import numpy as np

from ..errors import DataError

#: what libjpeg says of coded pixels that make no sense, and libpng of what it can do without
_COMPLAINT = re.compile(
    r'^(Corrupt JPEG data: .*|Premature end of JPEG file.*|Invalid SOS parameters.*|Unsupported marker'
    r' type.*|'
    r'Inconsistent progression sequence.*|libpng warning: .*)$',
    re.MULTILINE,
)
#: complaints about colour profiles and text, which say nothing of the pixels
_HARMLESS = re.compile(r'libpng warning: (iCCP|sRGB|gAMA|cHRM|tEXt|iTXt|zTXt|eXIf|bKGD|tIME|pHYs)')


def read_image(path: str) -> np.ndarray:
    """Read an image as ``cv2.imread(path, IMREAD_COLOR)`` does, upstream's way.

    Grey-scale is repeated into three channels, CMYK is converted, 16 bits are cut to their upper 8, alpha is
    dropped, and EXIF orientation is applied. A JPEG that ends before its end-of-image marker is refused
    (OpenCV would fill the rest with grey); bytes after the marker do no harm.

    Returns:
        uint8 [H, W, 3], BGR.

    Raises:
        DataError: there is no such file, or it cannot be read or decoded.
    """
    return read_image_checked(path)[0]


def read_image_checked(path: str) -> Tuple[np.ndarray, Optional[str]]:
    """:func:`read_image`, and what the decoder complained of, or None.

    A damaged JPEG decodes to something. libjpeg notices where the coded pixels make no sense, or there are
    too few or too many of them, which of flipped bits is about one in five (docs/faults.md); OpenCV hands
    that on to stderr only.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would never end
            raise DataError(f'cannot read the image file {path}: it is no file')
        with open(path, 'rb') as file:
            data = file.read()
    except FileNotFoundError:
        raise DataError(f'no such image file: {path}') from None
    except OSError as error:
        raise DataError(f'cannot read the image file {path}: {error.strerror}') from None
    except (MemoryError, ValueError) as error:
        raise DataError(
            'cannot read the image file {!r}: {}'.format(path, error or 'not enough memory')
        ) from None
    if not data:
        raise DataError(f'the image file {path} is empty')
    if _is_cut_jpeg(data):
        raise DataError(f'the image file {path} is truncated: a JPEG of {len(data)} bytes without an end')
    complaints = []
    try:
        with _Stderr(complaints):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:  # more pixels than OpenCV allows
        raise DataError(f'cannot decode the image file {path}: {str(error).strip()}') from None
    if image is None:
        raise DataError(
            f'cannot decode the image file {path} ({len(data)} bytes): truncated, damaged or no image'
        )
    return image, '{}: {}'.format(path, '; '.join(complaints)) if complaints else None


class _Stderr:
    """A block in which what C libraries write to stderr about an image is collected; the rest of it
    passes."""

    _file = None  # kept from image to image; a process of its own opens its own
    _owner = None

    def __init__(self, complaints):
        self._complaints = complaints

    def __enter__(self):
        if _Stderr._owner != os.getpid():
            _Stderr._file, _Stderr._owner = tempfile.TemporaryFile(), os.getpid()
        self._saved = os.dup(2)
        os.dup2(_Stderr._file.fileno(), 2)

    def __exit__(self, *_):
        os.dup2(self._saved, 2)
        os.close(self._saved)
        file = _Stderr._file
        size = os.lseek(file.fileno(), 0, os.SEEK_CUR)  # what was written to the copy moved the place in both
        if not size:
            return
        text = os.pread(file.fileno(), size, 0).decode('utf-8', 'replace')
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        os.ftruncate(file.fileno(), 0)
        self._complaints += [line for line in _COMPLAINT.findall(text) if not _HARMLESS.match(line)]
        rest = _COMPLAINT.sub('', text).strip('\n')
        if rest:
            os.write(2, rest.encode('utf-8', 'replace') + b'\n')


def _is_cut_jpeg(data):
    """Whether the bytes are a JPEG that stops inside its coded pixels (ITU-T T.81, annex B).

    An embedded preview has an end marker of its own, so the search starts behind the header's segments. In
    coded pixels a byte FF is always followed by 00 or a restart marker: FF D9 there is the end.
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
    return False  # not in this shape: the decoder will say
