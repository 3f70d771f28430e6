"""Where an image lies in the network's input.

:func:`centernet.detection.preprocess` creates one :class:`Geometry` per image and test scale. It travels with
the image until :func:`centernet.detection.postprocess` inverts it.
"""

from typing import NamedTuple, Tuple

import cv2
import numpy as np


class Geometry(NamedTuple):
    """The position of one image in the network's input.

    Attributes:
        centre: the point (x, y) at the centre of the input, in pixels of the image resized by ``test_scale``.
        scale: the extent (width, height) of the input in the same pixels. Only the width matters, because the
            transform preserves the aspect ratio.
        input_size: (width, height) in input pixels.
        output_size: (width, height) in output cells.
        test_scale: the factor by which the image was resized first.
    """

    centre: Tuple[float, float]
    scale: Tuple[float, float]
    input_size: Tuple[int, int]
    output_size: Tuple[int, int]
    test_scale: float = 1.0

    def to_input(self) -> np.ndarray:
        """Return the affine matrix, float64 [2, 3], from the resized image's pixels to the input's pixels."""
        image, network = self._points(self.input_size)
        return cv2.getAffineTransform(image, network)

    def from_output(self) -> np.ndarray:
        """Return the affine matrix, float64 [2, 3], from output cells to the resized image's pixels."""
        image, cells = self._points(self.output_size)
        return cv2.getAffineTransform(cells, image)

    def _points(self, size):
        """Return three corresponding float32 points in the image and in a plane of ``size`` (width, height).

        The centre, the point half a width above it, and the point half a width to the left of that one. The
        choice affects the last bits of the matrix, so these are the points of the published evaluation.
        """
        image = _corner(self.centre, self.scale[0])
        plane = _corner((size[0] * 0.5, size[1] * 0.5), size[0])
        return image, plane


def _corner(centre, width):
    half = width * 0.5
    above = (centre[0], centre[1] - half)
    return np.array([centre, above, (above[0] - half, above[1])], dtype=np.float32)
