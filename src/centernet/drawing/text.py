"""Fonts, and class names that a font can show."""

import functools
import importlib.util
import os
import unicodedata
from typing import Any, Tuple

from PIL import ImageFont

#: looked for in the system's folders; the first ones have more scripts
_FONTS = [
    'NotoSansCJK-Regular.ttc',
    'NotoSans-Regular.ttf',
    'DejaVuSans.ttf',
    'Arial Unicode.ttf',
    'arial.ttf',
]
#: no font has a character for it
_NO_CHARACTER = '\U0010fffd'


@functools.lru_cache(maxsize=None)
def find_font(size: int) -> Any:
    """Return a font of a size in pixels: the system's, matplotlib's (the pinned stack has it, and a Pillow
    without a font that can be scaled), or Pillow's own."""
    matplotlib = importlib.util.find_spec('matplotlib')
    folder = os.path.dirname(matplotlib.origin or '') if matplotlib else ''
    for name in [*_FONTS, os.path.join(folder, 'mpl-data', 'fonts', 'ttf', 'DejaVuSans.ttf')]:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def text_size(text: str, font: Any) -> Tuple[int, int]:
    """Return the width of a text, and the height of a line of it, in pixels."""
    return font.getbbox(text)[2], sum(font.getmetrics())


def drawable(name: str, index: int, font: Any) -> str:
    """Return a class name as a font can show it.

    Where it lacks characters, accents are removed; what is still missing becomes ``?``, and a name without a
    letter or digit becomes ``class 7``.
    """
    name = ' '.join(name.split())
    if all(_has(font, letter) for letter in name):
        return name or f'class {index}'
    plain = (letter for letter in unicodedata.normalize('NFKD', name) if not unicodedata.combining(letter))
    shown = ''.join(letter if _has(font, letter) else '?' for letter in plain)
    return shown if any(letter.isalnum() for letter in shown) else f'class {index}'


@functools.lru_cache(maxsize=4096)
def _has(font: Any, letter: str) -> bool:
    """Whether a font has a character, which otherwise looks as one that no font has."""
    return letter == ' ' or bytes(font.getmask(letter)) != bytes(font.getmask(_NO_CHARACTER))
