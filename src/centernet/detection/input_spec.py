"""How images are fitted to the network's input: the input side of the protocol."""

from typing import NamedTuple

from .normalization import COCO, Normalization


class InputSpec(NamedTuple):
    """How images are fitted to the network's input.

    Attributes:
        height, width: size of the input in pixels. The longer side of the image is scaled to fit it. Not used
            with ``keep_res``.
        keep_res: False is "fix_res", the default protocol. True keeps the resolution of the image and centres
            it in the next larger input whose sides are ``(side | pad) + 1``.
        pad: 31 pads to multiples of 32, 127 to multiples of 128 (hourglass).
        normalization: what is done to the pixel values.
    """

    height: int = 512
    width: int = 512
    keep_res: bool = False
    pad: int = 31
    normalization: Normalization = COCO
