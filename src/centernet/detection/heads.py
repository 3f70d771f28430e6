"""The outputs of a CenterNet network, and the boxes decoded from them: their names and layout."""

from collections import OrderedDict
from typing import Iterable, List, Mapping, NamedTuple, Optional

import torch

from ..system.errors import ModelError

#: input pixels per output cell, in both directions
DOWN_RATIO = 4


class Heads(NamedTuple):
    """A network's outputs for N images: float32 tensors on one device, h x w output cells, C classes.

    Attributes:
        hm: [N, C, h, w], logits of the class heat maps: is an object's centre in this cell?
        wh: width and height, in cells, of the box centred in this cell: [N, 2, h, w], or [N, 2 C, h, w] with
            a size for each class, in the planes 2 c and 2 c + 1 (``--cat_spec_wh``).
        reg: [N, 2, h, w], offset (x, y) of the centre within the cell; None puts it into the middle
            (``--not_reg_offset``).
    """

    hm: torch.Tensor
    wh: torch.Tensor
    reg: Optional[torch.Tensor] = None


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


#: names of the outputs that make boxes, and of those of a file with a decoder
HEADS = Heads._fields
DECODED = RawBoxes._fields

#: layouts of wh: those of :class:`Heads`, and distances of the centre to the left, upper, right and lower
#: side (FairMOT)
ONE_SIZE, SIZE_PER_CLASS, SIDES = 'one size', 'a size for each class', 'distances to the four sides'


def size_layout(classes: int, channels: int, names: Iterable[str] = ()) -> Optional[str]:
    """The layout of a head wh, or None for an unknown one.

    Args:
        classes, channels: of hm and of wh.
        names: of all heads. Two classes and four channels are ambiguous: with a head ``id`` (FairMOT's
            embedding) they are sides, else sizes for each class.
    """
    if channels == 2:
        return ONE_SIZE
    if channels == 4 and (classes != 2 or 'id' in names):
        return SIDES
    return SIZE_PER_CLASS if channels == 2 * classes else None


def ordered(heads: Mapping[str, int]) -> 'OrderedDict[str, int]':
    """Heads (name -> channels) in the order of exported files: hm, wh and reg, then the others."""
    names = [name for name in HEADS if name in heads] + [name for name in heads if name not in HEADS]
    return OrderedDict((name, heads[name]) for name in names)


def why_no_boxes(heads: Mapping[str, int]) -> Optional[str]:
    """Why these heads (name -> channels) make no boxes, or None if they do."""
    missing = [name for name in ('hm', 'wh') if name not in heads]
    if missing:
        return 'the outputs lack {}; they are {}'.format(' and '.join(missing), ', '.join(heads) or 'none')
    if size_layout(heads['hm'], heads['wh'], heads) is None:
        return f'wh has {heads["wh"]} channels; known are 2, 4 (distances to the sides) and 2 for each class'
    if heads.get('reg', 2) != 2:
        return f'reg of {heads["reg"]} channels instead of 2'
    return None


def notes_on(heads: Mapping[str, int]) -> List[str]:
    """What was assumed to make boxes of these heads, in lines for people; none for plain hm, wh and reg."""
    notes = []
    layout = size_layout(heads['hm'], heads['wh'], heads)
    if layout != ONE_SIZE:
        notes.append(f'wh has {heads["wh"]} channels: {layout}')
    if 'reg' not in heads:
        notes.append('no head reg: centres are in the middle of their cells')
    further = [name for name in heads if name not in HEADS]
    if further:
        notes.append(f'evaluated by its boxes; heads that are not used: {", ".join(further)}')
    return notes


def of_outputs(outputs: Mapping[str, torch.Tensor], is_probability: bool = False) -> Heads:
    """The Heads among a network's outputs by name.

    Args:
        outputs: float tensors [N, channels, h, w].
        is_probability: hm has been through its sigmoid, as in some files.

    Raises:
        ModelError: they make no boxes.
    """
    channels = {name: value.shape[1] for name, value in outputs.items()}
    reason = why_no_boxes(channels)
    if reason:
        raise ModelError(f'cannot detect with these outputs: {reason}')
    hm, wh, reg = outputs['hm'], outputs['wh'], outputs.get('reg')
    if is_probability:
        hm = hm.double()
        hm = torch.log(hm) - torch.log(1 - hm)  # infinite where the sigmoid was rounded to 0 or 1
    if size_layout(channels['hm'], channels['wh'], channels) == SIDES:
        wh, before, behind = wh[:, :2] + wh[:, 2:], wh[:, :2], wh[:, 2:]
        reg = (0.5 if reg is None else reg) + (behind - before) / 2
    return Heads(hm, wh, reg)
