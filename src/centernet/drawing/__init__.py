"""Boxes with labels, drawn on pictures.

:func:`annotate` draws on a copy of a picture, and :func:`draw_panels` detections next to the ground truth.
Labels neither cover each other nor leave the picture; classes have colours that colour-blind readers can tell
apart; names may have any characters that a font here has.
"""

from .boxes import Box, annotate
from .colours import class_colour
from .panels import draw_panels
from .pictures import reduce_picture, save_picture

__all__ = ['Box', 'annotate', 'class_colour', 'draw_panels', 'reduce_picture', 'save_picture']
