"""What a detector's network gives, and what is made of it: the one definition of names and cell size."""

from typing import NamedTuple

import torch

#: pixels of the network's input per output cell, along either side
DOWN_RATIO = 4


class Heads(NamedTuple):
    """What the network says of N images: float32 tensors on one device, h x w output cells, C classes.

    ``hm`` [N, C, h, w]: logits of "a centre of this class is here"; ``wh`` [N, 2, h, w]: width and height of
    the box centred here, in cells; ``reg`` [N, 2, h, w]: where in the cell its centre lies (x, y).
    """

    hm: torch.Tensor
    wh: torch.Tensor
    reg: torch.Tensor


class RawBoxes(NamedTuple):
    """The k best boxes of each of N images, by falling score.

    ``boxes`` float32 [N, k, 4]: x1, y1, x2, y2 in output cells; ``scores`` float32 [N, k]; ``classes`` int64
    [N, k].
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    classes: torch.Tensor


#: the outputs of a network, and those of a file with a decoder, by name
HEADS = Heads._fields
DECODED = RawBoxes._fields
