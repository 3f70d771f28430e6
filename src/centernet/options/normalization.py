"""What is done to images before the network: the normalizations that are known, and the size of the input."""

import itertools
from array import array
from collections import OrderedDict
from typing import Any, List, NamedTuple, Optional, Tuple

from ..system.errors import OptionError


class Normalization(NamedTuple):
    """``mean`` and ``std`` of ``(pixel / 255 - mean) / std``, three numbers each: blue, green, red."""

    mean: Tuple[float, ...]
    std: Tuple[float, ...]

    @property
    def name(self) -> Optional[str]:
        """Its name in :data:`NORMALIZATIONS`, or None."""
        return next((name for name, known in NORMALIZATIONS.items() if known.same(self)), None)

    def same(self, other: 'Normalization') -> bool:
        """Whether both have the same float32 numbers."""
        return all(array('f', one) == array('f', two) for one, two in zip(self, other))

    def __str__(self) -> str:
        """The name, else the numbers, as ``--normalization`` takes them."""
        return self.name or '/'.join(','.join(f'{value:g}' for value in part) for part in self)


#: what is done to a pixel value, for the metadata of files
FORMULA = '(pixel / 255 - mean) / std'
#: name -> the normalization that a network was trained with. coco: CenterNet's own for COCO. pascal:
#: ImageNet's numbers, which CenterNet's pascal.py applies to blue, green, red in the order in which others
#: list red, green, blue. half and unit: what people use for data of their own.
NORMALIZATIONS = OrderedDict(
    coco=Normalization((0.40789654, 0.44719302, 0.47026115), (0.28863828, 0.27408164, 0.27809835)),
    pascal=Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    half=Normalization((0.5, 0.5, 0.5), (1.0, 1.0, 1.0)),
    unit=Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
)
COCO = NORMALIZATIONS['coco']


def parse_normalization(text: str) -> Normalization:
    """``half``, or ``B,G,R/B,G,R`` with the mean and the standard deviation, such as ``0,0,0/1,1,1``.

    Raises:
        OptionError: it is neither a name nor such numbers.
    """
    if text in NORMALIZATIONS:
        return NORMALIZATIONS[text]
    try:
        parts = [[float(value) for value in part.split(',')] for part in text.split('/')]
    except ValueError:
        parts = []
    found = of_numbers(*parts) if len(parts) == 2 else None
    if found is None:
        raise OptionError(
            f'{text!r} is not a normalization: use {", ".join(NORMALIZATIONS)} or B,G,R/B,G,R (pixels / 255)'
        )
    return found


def of_numbers(mean: Any, std: Any) -> Optional[Normalization]:
    """The normalization with these numbers, which may be nested in lists of any depth; None if they are not
    three each, or not sensible. Numbers above 3 are of pixels from 0 to 255."""
    found = [_numbers(part) for part in (mean, std)]
    if any(len(part) != 3 for part in found) or min(found[1]) <= 0:
        return None
    scale = 255 if max(found[0] + found[1]) > 3 else 1
    numbers = Normalization(*(tuple(value / scale for value in part) for part in found))
    return NORMALIZATIONS.get(numbers.name or '', numbers)  # with its own decimals, not those of a float32


def _numbers(value: Any) -> List[float]:
    """The numbers in nested lists; none if there is anything else, or a number that cannot be meant."""
    if isinstance(value, (list, tuple)):
        parts = [_numbers(part) for part in value[:4]]
        return list(itertools.chain.from_iterable(parts)) if all(parts) else []
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6
    return [float(value)] if is_number else []  # NaN compares false


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
