"""From pixel values to the numbers that the network was trained on."""

import functools
from typing import List, Optional

import cv2
import numpy as np

from ..options.input_spec import COCO, Normalization

MEAN, STD = (np.array(part, np.float32) for part in COCO)


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
