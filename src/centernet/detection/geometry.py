"""Where an image lies in the network's input, and how to get back.

One :class:`Geometry` is made per image and test scale, by :func:`centernet.detection.preprocess`; it travels
with the image, and :func:`centernet.detection.postprocess` inverts that object and nothing else.
"""

from typing import NamedTuple, Tuple

import cv2
import numpy as np


class Geometry(NamedTuple):
    """The place of one image in the network's input.

    ``centre`` (x, y) and ``scale`` (width, height): in pixels of the image after resizing by ``test_scale``,
    the point that lies in the middle of the input, and the extent of the input. Only the width of ``scale``
    acts: the transform keeps the aspect. ``input_size`` and ``output_size``: (width, height), in input pixels
        and in output cells.
    """

    centre: Tuple[float, float]
    scale: Tuple[float, float]
    input_size: Tuple[int, int]
    output_size: Tuple[int, int]
    test_scale: float = 1.0

    def to_input(self):
        """The affine matrix, float64 [2, 3], from the resized image's pixels to the input's pixels."""
        image, network = self._points(self.input_size)
        return cv2.getAffineTransform(image, network)

    def from_output(self):
        """The affine matrix, float64 [2, 3], from output cells to the resized image's pixels."""
        image, cells = self._points(self.output_size)
        return cv2.getAffineTransform(cells, image)

    def _points(self, size):
        """Three float32 points each, in the image and in a plane of ``size`` (width, height), that determine
        the transform.

        The middle, the point half a width above it, and the point half a width to the left of that one. Which
        three points are taken decides the matrix's last bits, so these are the ones that the published
        evaluation takes.
        """
        image = _corner(self.centre, self.scale[0])
        plane = _corner((size[0] * 0.5, size[1] * 0.5), size[0])
        return image, plane


def _corner(centre, width):
    half = width * 0.5
    above = (centre[0], centre[1] - half)
    return np.array([centre, above, (above[0] - half, above[1])], dtype=np.float32)
