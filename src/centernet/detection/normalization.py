"""From pixel values to the numbers that the network was trained on."""

import cv2
import numpy as np

#: mean and standard deviation of COCO's pixels divided by 255; channels blue, green, red
MEAN = np.array([0.40789654, 0.44719302, 0.47026115], dtype=np.float32)
STD = np.array([0.28863828, 0.27408164, 0.27809835], dtype=np.float32)

# A channel has 256 values, so normalisation is a table look-up. Computed in float64 and rounded once, as in
# the published evaluation.
_NORMALISED = ((np.arange(256)[:, np.newaxis] / 255.0 - MEAN) / STD).astype(np.float32)
_TABLES = [np.ascontiguousarray(_NORMALISED[:, channel]).reshape(1, 256) for channel in range(3)]


def normalise(image: np.ndarray) -> np.ndarray:
    """Return ``(image / 255 - MEAN) / STD`` as planes.

    Args:
        image: uint8 [H, W, 3], channels blue, green, red.

    Returns:
        float32 [3, H, W], contiguous.
    """
    planes = np.empty((3,) + image.shape[:2], dtype=np.float32)
    for channel, plane in enumerate(cv2.split(image)):
        cv2.LUT(plane, _TABLES[channel], dst=planes[channel])
    return planes
