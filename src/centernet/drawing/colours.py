"""Colours of classes that colour-blind readers can tell apart (Okabe and Ito, "Color Universal Design")."""

from typing import Tuple

from PIL import ImageColor

#: vermilion, sky blue, yellow, bluish green, reddish purple, orange, blue
_PALETTE = ('#d55e00', '#56b4e9', '#f0e442', '#009e73', '#cc79a7', '#e69f00', '#0072b2')
#: of white or black in the next rounds through the palette
_MIXED = ((0, 0.0), (255, 0.45), (0, 0.35))


def class_colour(index: int) -> Tuple[int, int, int]:
    """Return the colour (red, green, blue) of a class index: 21 different ones, then from the start again."""
    towards, share = _MIXED[index // len(_PALETTE) % len(_MIXED)]
    colour = ImageColor.getrgb(_PALETTE[index % len(_PALETTE)])
    return tuple(round(part + (towards - part) * share) for part in colour)


def ink_on(colour: Tuple[int, int, int]) -> Tuple[int, int, int]:
    """Return black or white, whichever contrasts more with a colour (WCAG 2.1, relative luminance)."""
    linear = [part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0, 0, 0) if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else (255, 255, 255)
