"""How images are brought to the network's size: the protocol's input side."""

from typing import NamedTuple

from .heads import DOWN_RATIO


class InputSpec(NamedTuple):
    """How images are brought to the network's size.

    ``keep_res`` False ("fix_res", the default protocol): the longer side is fitted into ``width`` x
    ``height`` pixels. ``keep_res`` True: the image keeps its size and is put into the middle of the next
    larger input whose sides are ``(side | pad) + 1``: multiples of 32 with ``pad`` 31, of 128 with ``pad``
    127 (hourglass); ``width`` and ``height`` are not used. ``down_ratio``: input pixels per output cell.
    """

    height: int = 512
    width: int = 512
    keep_res: bool = False
    pad: int = 31
    down_ratio: int = DOWN_RATIO
