"""Fonts, and class names that a font can show."""

import functools
import importlib.util
import os
import unicodedata
from typing import Any, List, Tuple

from PIL import ImageFont

#: looked for in the system's folders; the first ones have more scripts
_SYSTEM_FONTS = (
    'NotoSansCJK-Regular.ttc',
    'NotoSans-Regular.ttf',
    'DejaVuSans.ttf',
    'Arial Unicode.ttf',
    'arial.ttf',
)
#: no font has a character for it
_NO_CHARACTER = '\U0010fffd'


@functools.lru_cache(maxsize=None)
def find_font(size: int) -> Any:
    """Return a font of a size in pixels: the system's, matplotlib's (installed with the pinned stack), or
    Pillow's own (10.1 and newer)."""
    candidates: List[str] = list(_SYSTEM_FONTS)
    matplotlib = importlib.util.find_spec('matplotlib')
    if matplotlib is not None and matplotlib.origin:
        folder = os.path.dirname(matplotlib.origin)
        candidates.append(os.path.join(folder, 'mpl-data', 'fonts', 'ttf', 'DejaVuSans.ttf'))
    for name in candidates:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    try:
        return ImageFont.load_default(size)
    except TypeError:  # older Pillows have one of a fixed size
        return ImageFont.load_default()


def text_size(text: str, font: Any) -> Tuple[int, int]:
    """Return the width of a text, and the height of a line of it, in pixels."""
    if hasattr(font, 'getbbox'):
        width = font.getbbox(text)[2]
    else:
        width = font.getsize(text)[0]
    ascent, descent = font.getmetrics() if hasattr(font, 'getmetrics') else (font.getsize('Ag')[1], 0)
    return width, ascent + descent


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
    if letter == ' ':
        return True
    try:
        return bytes(font.getmask(letter)) != bytes(font.getmask(_NO_CHARACTER))
    except (UnicodeEncodeError, ValueError):  # the fixed font of older Pillows has Latin-1 alone
        return False
