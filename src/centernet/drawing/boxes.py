"""Boxes with labels on a picture."""

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from .colours import class_colour, ink_on
from .text import drawable, find_font, text_size

#: A smaller picture is enlarged to this longer side, in whole steps, so that labels do not hide it.
_SMALLEST = 480
#: The font has the height of the picture's diagonal divided by this, within limits.
_FONT_SHARE, _SMALLEST_FONT, _LARGEST_FONT = 55, 12, 72
#: Longer labels are shortened to this share of the picture's width.
_LONGEST = 0.45

_Area = Tuple[int, int, int, int]  # left, top, right, bottom
_Label = Tuple[_Area, bool]  # where it is, and whether that is away from its box


class Box(NamedTuple):
    """A box to draw: x1, y1, x2, y2 in pixels of the picture, its class, what follows the name in its label,
    and whether its outline is dashed."""

    corners: Sequence[float]
    class_index: int
    suffix: str = ''
    dashed: bool = False


def annotate(image: np.ndarray, boxes: Sequence[Box], class_names: Sequence[str]) -> np.ndarray:
    """Draw boxes on a copy of a picture.

    Args:
        image: uint8 [H, W, 3], BGR.
        boxes: the most important first: it chooses the place of its label first, and is drawn on top. A box
            for whose label no free place remains gets none.
        class_names: by class index.

    Returns:
        uint8 [H', W', 3], BGR: of the same size, or enlarged in whole steps if the picture is small.
    """
    height, width = image.shape[:2]
    factor = max(1, -(-_SMALLEST // max(height, width)))
    size = (width * factor, height * factor)
    if factor > 1:
        image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    font_size, stroke = sizes(size)
    font, margin = find_font(font_size), max(2, font_size // 5)
    areas = [_area(box.corners, factor, size) for box in boxes]
    names = [drawable(class_names[box.class_index], box.class_index, font) for box in boxes]
    longest = int(size[0] * _LONGEST) - 2 * margin
    texts = [_shorten(name, box.suffix, font, longest) for name, box in zip(names, boxes)]
    labels = place_labels(texts, areas, size, font, margin)
    canvas = Image.fromarray(np.ascontiguousarray(image[:, :, ::-1]))
    draw = ImageDraw.Draw(canvas)
    colours = [class_colour(box.class_index) for box in boxes]
    drawn = list(zip(boxes, areas, colours, texts, labels))[::-1]
    for box, area, colour, _, _ in drawn:
        _outline(draw, area, colour, stroke, box.dashed)
    for _, area, colour, text, label in drawn:
        if label is not None:
            (left, top, right, bottom), is_away = label
            if is_away:  # a line shows where it belongs
                start = (min(max(area[0], left), right), min(max(area[1], top), bottom))
                draw.line((*start, *area[:2]), fill=colour, width=max(1, stroke // 2))
            draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)
            draw.text((left + margin, top + margin), text, fill=ink_on(colour), font=font)
    return np.ascontiguousarray(np.asarray(canvas)[:, :, ::-1])


def sizes(size: Tuple[int, int]) -> Tuple[int, int]:
    """Return the height of the font and the width of outlines for a picture of a size (width, height)."""
    font_size = int(min(max(np.hypot(*size) / _FONT_SHARE, _SMALLEST_FONT), _LARGEST_FONT))
    return font_size, max(2, font_size // 8)


def _area(corners: Sequence[float], factor: int, size: Tuple[int, int]) -> _Area:
    """Scale a box to the drawn picture, rounded and clipped."""
    return tuple(
        min(max(round(float(side) * factor), 0), limit - 1) for side, limit in zip(corners, size * 2)
    )


def place_labels(
    texts: Sequence[str], areas: Sequence[_Area], size: Tuple[int, int], font: Any, margin: int
) -> List[Optional[_Label]]:
    """Give every box the nearest place for a label that no other label has; None where there is none."""
    labels: List[Optional[_Label]] = []
    for text, area in zip(texts, areas):
        width, height = (side + 2 * margin for side in text_size(text, font))
        labels.append(_find_place(area, width, height, size, [label[0] for label in labels if label]))
    return labels


def _shorten(name: str, suffix: str, font: Any, limit: int) -> str:
    text = name + suffix
    for length in range(len(name) - 1, 0, -1):
        if text_size(text, font)[0] <= limit:
            break
        text = name[:length] + '\u2026' + suffix
    return text


def _find_place(
    area: _Area, width: int, height: int, size: Tuple[int, int], taken: Sequence[_Area]
) -> Optional[_Label]:
    """The nearest free place of a label, and whether it is away from its box."""
    if width > size[0] or height > size[1]:
        return None
    left, top, right, bottom = area
    at_box = [(x, y) for y in (top - height, top, bottom, bottom - height) for x in (left, right - width)]
    at_box += [(right, top), (left - width, top)]
    rows, columns = range(0, size[1] - height + 1, height), range(0, size[0] - width + 1, max(1, width // 2))
    grid = ((x, y) for y in rows for x in columns)
    elsewhere = sorted(grid, key=lambda place: (place[0] - left) ** 2 + (place[1] - top) ** 2)
    for x, y in at_box + elsewhere:
        place_x, place_y = max(0, min(x, size[0] - width)), max(0, min(y, size[1] - height))
        place = (place_x, place_y, place_x + width, place_y + height)
        if not any(_overlap(place, other) for other in taken):
            return place, (x, y) not in at_box and not _overlap(place, area)
    return None


def _overlap(one: _Area, other: _Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _outline(draw: Any, area: _Area, colour: Tuple[int, int, int], stroke: int, dashed: bool) -> None:
    left, top, right, bottom = area
    if not dashed:
        shorter = min(right - left, bottom - top)
        draw.rectangle(area, outline=colour, width=min(stroke, (shorter + 1) // 2))
        return
    dash = 4 * stroke
    lines = [(x, y, min(x + dash, right), y) for x in range(left, right + 1, 2 * dash) for y in (top, bottom)]
    lines += [
        (x, y, x, min(y + dash, bottom)) for y in range(top, bottom + 1, 2 * dash) for x in (left, right)
    ]
    for line in lines:
        draw.line(line, fill=colour, width=stroke)
