"""What a network gives when something is wrong with it: the mistakes that :mod:`.explain` can recognise.

A variant is the checkpoint's network with one mistake, in its input or inside. The outputs of each are stored
beside the reference, so that the judge needs neither checkpoint nor images.
"""

import copy
from collections import OrderedDict
from typing import Callable, List, NamedTuple, Optional

import numpy as np
import torch
from torch import nn

from ..dcn import DCN
from ..detection import Normalization
from ..detection.normalization import normalise

#: the network as it is
PLAIN = 'plain'
#: the yardstick for a device that computes in float16
FLOAT16 = 'float16'
#: behind a mask's sigmoid this is 1
_CERTAIN = 20.0


class Variant(NamedTuple):
    """One mistake, or float16.

    ``name``: in the names of files. ``words``: what it is. ``feed``: uint8
    image [H, W, 3] (blue, green, red) and normalization -> float32 [3, H, W]; None feeds the right input.
    ``change``: changes a copy of the network in place; None leaves it as it is.
    """

    name: str
    words: str
    feed: Optional[Callable[[np.ndarray, Normalization], np.ndarray]] = None
    change: Optional[Callable[[nn.Module], None]] = None


def _reversed(values):
    return Normalization(*(tuple(reversed(part)) for part in values))


def _again(planes: np.ndarray, normalization: Normalization) -> np.ndarray:
    mean, std = (np.array(part, np.float32).reshape(3, 1, 1) for part in normalization)
    return ((planes - mean) / std).astype(np.float32)


def _pixels(image: np.ndarray, divisor: float) -> np.ndarray:
    return np.ascontiguousarray(image.transpose(2, 0, 1).astype(np.float32) / np.float32(divisor))


def _read_as_channels_last(image: np.ndarray, normalization: Normalization) -> np.ndarray:
    planes = normalise(image, normalization)
    return np.ascontiguousarray(planes.reshape(image.shape).transpose(2, 0, 1))


def round_to_half(model: nn.Module) -> None:
    """Round the weights and the output of every layer to float16; sums stay in float32, as on devices."""

    def round_output(_module, _inputs, output):
        if torch.is_tensor(output):
            output.data.copy_(output.data.half().float())

    for parameter in model.parameters():
        parameter.data.copy_(parameter.data.half().float())
    for module in model.modules():
        if isinstance(module, DCN) or not list(module.children()):
            module.register_forward_hook(round_output)


def _reorder_offsets(order: Callable[[int], List[int]]) -> Callable[[nn.Module], None]:
    """Give the offsets of every deformable convolution another order; ``order``: taps -> channels."""

    def change(model):
        for module in _deformable(model):
            predicted = module.conv_offset_mask
            taps = predicted.weight.shape[0] // (3 * module.deformable_groups)
            for group in range(module.deformable_groups):
                start = 2 * taps * group
                chosen = [start + channel for channel in order(taps)]
                for values in (predicted.weight.data, predicted.bias.data):
                    values[start : start + 2 * taps] = values[chosen].clone()

    return change


def _constant(offsets: bool = False, masks: bool = False) -> Callable[[nn.Module], None]:
    """Make the offsets of every deformable convolution 0, or its masks 1."""

    def change(model):
        for module in _deformable(model):
            predicted = module.conv_offset_mask
            first = 2 * (predicted.weight.shape[0] // 3)
            for chosen, part, value in ((offsets, slice(first), 0), (masks, slice(first, None), _CERTAIN)):
                if chosen:
                    predicted.weight.data[part] = 0
                    predicted.bias.data[part] = value

    return change


def _deformable(model: nn.Module) -> List[DCN]:
    return [module for module in model.modules() if isinstance(module, DCN)]


#: name -> Variant
VARIANTS = OrderedDict(
    (variant.name, variant)
    for variant in (
        Variant(PLAIN, 'the same'),
        Variant(FLOAT16, 'the outputs differ as float16 would', change=round_to_half),
        Variant(
            'rgb',
            'as if channels were RGB: red and blue of the pictures are exchanged',
            lambda image, numbers: normalise(np.ascontiguousarray(image[:, :, ::-1]), numbers),
        ),
        Variant(
            'rgb_after',
            'as if channels were RGB: red and blue of the normalised input are exchanged',
            lambda image, numbers: np.ascontiguousarray(normalise(image, numbers)[::-1]),
        ),
        Variant(
            'rgb_numbers',
            'as if mean and standard deviation were in the order of RGB, and the channels of BGR',
            lambda image, numbers: normalise(image, _reversed(numbers)),
        ),
        Variant(
            'twice',
            'as if normalised twice',
            lambda image, numbers: _again(normalise(image, numbers), numbers),
        ),
        Variant(
            'twice_scaled',
            'as if normalised twice: the normalised input was divided by 255, and normalised again',
            lambda image, numbers: _again(normalise(image, numbers) / np.float32(255), numbers),
        ),
        Variant(
            'unit',
            'as if not normalised: pixels divided by 255, without mean and standard deviation',
            lambda image, numbers: _pixels(image, 255),
        ),
        Variant(
            'pixels', 'as if not normalised: pixels from 0 to 255', lambda image, numbers: _pixels(image, 1)
        ),
        Variant('nhwc', 'as if the input were read as [N, H, W, C]', _read_as_channels_last),
        Variant(
            'offsets_xy',
            'as if offsets x and y were exchanged in the deformable convolutions',
            change=_reorder_offsets(lambda taps: [tap ^ 1 for tap in range(2 * taps)]),
        ),
        Variant(
            'offsets_blocks',
            'as if the offsets of the deformable convolutions were read as all y, then all x',
            change=_reorder_offsets(
                lambda taps: [channel for tap in range(taps) for channel in (tap, taps + tap)]
            ),
        ),
        Variant(
            'no_offsets',
            'as if the offsets of the deformable convolutions were 0',
            change=_constant(offsets=True),
        ),
        Variant(
            'no_masks',
            'as if the deformable convolutions had no masks',
            change=_constant(masks=True),
        ),
        Variant(
            'ordinary',
            'as if the deformable convolutions were ordinary ones, without offsets and masks',
            change=_constant(offsets=True, masks=True),
        ),
    )
)


def applicable(model: nn.Module) -> List[Variant]:
    """The variants that a network can have: those of deformable convolutions need some."""
    deformable = bool(_deformable(model))
    return [
        variant
        for variant in VARIANTS.values()
        if deformable or variant.change is None or variant.name == FLOAT16
    ]


def changed(model: nn.Module, variant: Variant) -> nn.Module:
    """A copy of the network with the change of a variant, if it has one."""
    model = copy.deepcopy(model)
    if variant.change is not None:
        variant.change(model)
    return model
