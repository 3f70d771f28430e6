"""The outputs of a CenterNet network, and the boxes decoded from them: their names and layout."""

from typing import NamedTuple

import torch

#: input pixels per output cell, in both directions
DOWN_RATIO = 4


class Heads(NamedTuple):
    """A network's outputs for N images: float32 tensors on one device, h x w output cells, C classes.

    Attributes:
        hm: [N, C, h, w], logits of the class heat maps: is an object's centre in this cell?
        wh: [N, 2, h, w], width and height, in cells, of the box centred in this cell.
        reg: [N, 2, h, w], offset (x, y) of the centre within the cell.
    """

    hm: torch.Tensor
    wh: torch.Tensor
    reg: torch.Tensor


class RawBoxes(NamedTuple):
    """The k best boxes of each of N images, sorted by descending score.

    Attributes:
        boxes: float32 [N, k, 4], x1, y1, x2, y2 in output cells.
        scores: float32 [N, k].
        classes: int64 [N, k].
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    classes: torch.Tensor


#: names of a network's outputs, and of those of a file with a decoder
HEADS = Heads._fields
DECODED = RawBoxes._fields
