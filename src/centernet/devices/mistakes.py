"""The mistakes that :mod:`.explain` can recognise: :data:`MISTAKES`, the one list.

A mistake changes the input, the network, or the outputs. What the checkpoint gives with each mistake of the
first two kinds, a *variant*, is stored beside the reference, so that the judge needs neither checkpoint nor
images.
"""

import copy
from collections import OrderedDict
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np
import torch
from torch import nn

from ..detection import Normalization
from ..detection.preprocess import normalise
from ..kernels import DCN

#: the network as it is
PLAIN = 'plain'
#: the yardstick for a device that computes in float16
FLOAT16 = 'float16'
#: behind a mask's sigmoid this is 1
_CERTAIN = 20.0

#: name -> [channels, h, w]
Values = Mapping[str, np.ndarray]


class Mistake(NamedTuple):
    """One mistake, or float16.

    ``name``: in the names of files. ``words``: what it is. One of: ``feed``: uint8 image [H, W, 3] (blue,
    green, red) and normalization -> the wrong input, numbers [3, H, W]; ``change``: changes a network in
    place; ``undo``: wrong heads -> the right ones, which needs the heads ``needs``.
    """

    name: str
    words: str
    feed: Optional[Callable[[np.ndarray, Normalization], np.ndarray]] = None
    change: Optional[Callable[[nn.Module], None]] = None
    undo: Optional[Callable[[Values], Dict[str, np.ndarray]]] = None
    needs: str = ''


def _again(planes: np.ndarray, normalization: Normalization) -> np.ndarray:
    mean, std = (np.array(part, np.float32).reshape(3, 1, 1) for part in normalization)
    return (planes - mean) / std


def _round_to_half(model: nn.Module) -> None:
    """Round the weights and the output of every layer to float16; sums stay in float32, as on devices."""

    def round_output(_module, _inputs, output):
        if torch.is_tensor(output):
            output.data.copy_(output.data.half().float())

    for parameter in model.parameters():
        parameter.data.copy_(parameter.data.half().float())
    for module in model.modules():
        if isinstance(module, DCN) or not list(module.children()):
            module.register_forward_hook(round_output)


def _deformable(model: nn.Module) -> List[DCN]:
    return [module for module in model.modules() if isinstance(module, DCN)]


def _reorder_offsets(order: Callable[[int], Sequence[int]]) -> Callable[[nn.Module], None]:
    """Give the offsets of every deformable convolution another order; ``order``: taps -> channels."""

    def change(model):
        for module in _deformable(model):
            predicted = module.conv_offset_mask
            taps = predicted.weight.shape[0] // (3 * module.deformable_groups)
            channels = np.arange(2 * taps * module.deformable_groups)
            channels = channels.reshape(-1, 2 * taps)[:, order(taps)].ravel()
            for values in (predicted.weight.data, predicted.bias.data):
                values[: len(channels)] = values[channels]

    return change


def _constant(*parts: str) -> Callable[[nn.Module], None]:
    """Make ``offsets`` of every deformable convolution 0, or ``masks`` 1."""

    def change(model):
        for module in _deformable(model):
            predicted = module.conv_offset_mask
            first = 2 * (predicted.weight.shape[0] // 3)
            for part in parts:
                chosen = slice(first) if part == 'offsets' else slice(first, None)
                predicted.weight.data[chosen] = 0
                predicted.bias.data[chosen] = 0 if part == 'offsets' else _CERTAIN

    return change


#: in the order of the data's way
MISTAKES = (
    Mistake(PLAIN, 'the same'),
    Mistake(FLOAT16, 'the outputs differ as float16 would', change=_round_to_half),
    Mistake(
        'rgb',
        'as if channels were RGB: red and blue of the pictures are exchanged',
        lambda image, numbers: normalise(np.ascontiguousarray(image[:, :, ::-1]), numbers),
    ),
    Mistake(
        'rgb_after',
        'as if channels were RGB: red and blue of the normalised input are exchanged',
        lambda image, numbers: normalise(image, numbers)[::-1],
    ),
    Mistake(
        'rgb_numbers',
        'as if mean and standard deviation were in the order of RGB, and the channels of BGR',
        lambda image, numbers: normalise(image, Normalization(*(part[::-1] for part in numbers))),
    ),
    Mistake(
        'twice', 'as if normalised twice', lambda image, numbers: _again(normalise(image, numbers), numbers)
    ),
    Mistake(
        'twice_scaled',
        'as if normalised twice: the normalised input was divided by 255, and normalised again',
        lambda image, numbers: _again(normalise(image, numbers) / np.float32(255), numbers),
    ),
    Mistake(
        'unit',
        'as if not normalised: pixels divided by 255, without mean and standard deviation',
        lambda image, _: image.transpose(2, 0, 1).astype(np.float32) / 255,
    ),
    Mistake(
        'pixels', 'as if not normalised: pixels from 0 to 255', lambda image, _: image.transpose(2, 0, 1)
    ),
    Mistake(
        'nhwc',
        'as if the input were read as [N, H, W, C]',
        lambda image, numbers: normalise(image, numbers).reshape(image.shape).transpose(2, 0, 1),
    ),
    Mistake(
        'offsets_xy',
        'as if offsets x and y were exchanged in the deformable convolutions',
        change=_reorder_offsets(lambda taps: [tap ^ 1 for tap in range(2 * taps)]),
    ),
    Mistake(
        'offsets_blocks',
        'as if the offsets of the deformable convolutions were read as all y, then all x',
        change=_reorder_offsets(lambda taps: np.arange(2 * taps).reshape(2, taps).T.ravel()),
    ),
    Mistake(
        'no_offsets', 'as if the offsets of the deformable convolutions were 0', change=_constant('offsets')
    ),
    Mistake('no_masks', 'as if the deformable convolutions had no masks', change=_constant('masks')),
    Mistake(
        'ordinary',
        'as if the deformable convolutions were ordinary ones, without offsets and masks',
        change=_constant('offsets', 'masks'),
    ),
    Mistake(
        'turned',
        'rows and columns of the outputs exchanged',
        undo=lambda heads: {name: values.transpose(0, 2, 1) for name, values in heads.items()},
    ),
    Mistake(
        'exchanged',
        'wh and reg exchanged',
        undo=lambda heads: dict(heads, wh=heads['reg'], reg=heads['wh']),
        needs='wh reg',
    ),
    Mistake(
        'wh',
        'width and height exchanged in wh',
        undo=lambda heads: dict(heads, wh=heads['wh'][::-1]),
        needs='wh',
    ),
    Mistake(
        'reg', 'x and y exchanged in reg', undo=lambda heads: dict(heads, reg=heads['reg'][::-1]), needs='reg'
    ),
)
#: name -> what it is
WORDS = OrderedDict((mistake.name, mistake.words) for mistake in MISTAKES)


def variants_of(model: nn.Module) -> List[Mistake]:
    """The variants that a network can have: some change deformable convolutions."""
    deformable = bool(_deformable(model))
    return [
        mistake
        for mistake in MISTAKES
        if mistake.undo is None and (deformable or mistake.change is None or mistake.name == FLOAT16)
    ]


def changed(model: nn.Module, mistake: Mistake) -> nn.Module:
    """The network, or, if a mistake changes it, a changed copy."""
    if mistake.change is not None:
        model = copy.deepcopy(model)
        mistake.change(model)
    return model
