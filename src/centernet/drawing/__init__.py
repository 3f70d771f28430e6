"""Boxes with labels, drawn on pictures.

:func:`annotate` draws on a copy of a picture. Labels neither cover each other nor leave the picture; classes
have colours that colour-blind readers can tell apart; names may have any characters that a font here has.
"""

from .boxes import Box, annotate
from .colours import class_colour
from .pictures import encode_picture, save_picture

__all__ = ['Box', 'annotate', 'class_colour', 'encode_picture', 'save_picture']
