"""Turn an image into the network's input."""

import functools
from typing import List, Optional, Tuple

import cv2
import numpy as np

from ..options.normalization import COCO, InputSpec, Normalization
from ..system.errors import DataError, OptionError
from .geometry import Geometry
from .heads import DOWN_RATIO

# cv2.warpAffine rejects images with a side of SHRT_MAX or more.
_MAX_SIDE = 32766


def preprocess(image: np.ndarray, spec: InputSpec, test_scale: float = 1.0) -> Tuple[np.ndarray, Geometry]:
    """Warp one image to the network's input size and normalise it.

    The protocol is CenterNet's ("Objects as Points", section 6.1, and the published code). Without
    ``keep_res``, the scale is the longer side of the image *before* resizing while the centre is that of the
    resized image, so a test scale zooms the image within its input. Resized sides are rounded down, to at
    least 1 pixel.

    Args:
        image: uint8 [H, W, 3], channels blue, green, red (as from ``cv2.imread``).
        spec: size of the input, and the normalisation.
        test_scale: factor by which the image is resized first (multi-scale testing).

    Returns:
        The input, float32 [3, input height, input width], contiguous; and the image's Geometry.

    Raises:
        DataError: a resized side is longer than OpenCV can warp (32766 pixels).
        OptionError: ``test_scale`` is not a positive number.
        ValueError: ``image`` has the wrong dtype or shape.
    """
    warped, geometry = warp(image, spec, test_scale)
    return normalise(warped, spec.normalization), geometry


def warp(image: np.ndarray, spec: InputSpec, test_scale: float = 1.0) -> Tuple[np.ndarray, Geometry]:
    """:func:`preprocess` without the normalisation: the input is uint8 [input height, input width, 3]."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f'expected a uint8 image [H, W, 3], got {image.dtype} {list(image.shape)}')
    height, width = image.shape[:2]
    geometry, resized = _place(width, height, spec, test_scale)
    if resized != (width, height):
        image = cv2.resize(image, resized)
    return cv2.warpAffine(image, geometry.to_input(), geometry.input_size, flags=cv2.INTER_LINEAR), geometry


def normalise(
    image: np.ndarray, normalization: Normalization = COCO, out: Optional[np.ndarray] = None
) -> np.ndarray:
    """Return ``(image / 255 - mean) / std`` as planes.

    Args:
        image: uint8 [H, W, 3], channels blue, green, red.
        normalization: the mean and the standard deviation.
        out: float32 [3, H, W], contiguous, to write to; a new array by default.

    Returns:
        float32 [3, H, W], contiguous.
    """
    planes = np.empty((3,) + image.shape[:2], dtype=np.float32) if out is None else out
    for channel, plane, table in zip(planes, cv2.split(image), _tables(normalization)):
        cv2.LUT(plane, table, dst=channel)
    return planes


@functools.lru_cache(maxsize=8)
def _tables(normalization: Normalization) -> List[np.ndarray]:
    """Per channel float32 [1, 256]: a channel has 256 values, so normalisation is a table look-up.

    Computed in float64 from float32 numbers and rounded once, as in the published evaluation.
    """
    mean, std = (np.array(part, np.float32) for part in normalization)
    values = ((np.arange(256)[:, np.newaxis] / 255.0 - mean) / std).astype(np.float32)
    return [np.ascontiguousarray(values[:, channel]).reshape(1, 256) for channel in range(3)]


def mirror(images: np.ndarray) -> np.ndarray:
    """Mirror images [..., W] left to right for the flip test; the result is contiguous."""
    return np.ascontiguousarray(images[..., ::-1])


def _place(width, height, spec, test_scale):
    """Return the Geometry of an image of ``width`` x ``height`` pixels, and its resized (width, height)."""
    if not 0 < test_scale < float('inf'):
        raise OptionError(f'test scale {test_scale} is not a positive number')
    resized = (max(1, int(width * test_scale)), max(1, int(height * test_scale)))
    if max(resized) > _MAX_SIDE:
        raise DataError(
            f'image of {width} x {height} pixels (test scale {test_scale:g}): OpenCV takes up to {_MAX_SIDE}'
        )
    if spec.keep_res:
        size = ((resized[0] | spec.pad) + 1, (resized[1] | spec.pad) + 1)
        centre = (float(resized[0] // 2), float(resized[1] // 2))
        scale = (float(size[0]), float(size[1]))
    else:
        size = (spec.width, spec.height)
        centre = (resized[0] / 2.0, resized[1] / 2.0)
        scale = (float(max(width, height)),) * 2
    output = (size[0] // DOWN_RATIO, size[1] // DOWN_RATIO)
    return Geometry(centre, scale, size, output, float(test_scale)), resized
