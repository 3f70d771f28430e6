"""Boxes with labels on a picture."""

import itertools
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

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


class Box(NamedTuple):
    """A box to draw: x1, y1, x2, y2 in pixels of the picture, its class, what follows the name in its label,
    and whether its outline is dashed."""

    corners: Sequence[float]
    class_index: int
    suffix: str = ''
    dashed: bool = False


class _Label(NamedTuple):
    text: str
    area: _Area
    is_away: bool


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
    font = find_font(font_size)
    areas = [_area(box.corners, factor, size) for box in boxes]
    labels = _place_labels(boxes, areas, class_names, size, font, font_size)
    canvas = Image.fromarray(np.ascontiguousarray(image[:, :, ::-1]))
    draw = ImageDraw.Draw(canvas)
    for box, area in reversed(list(zip(boxes, areas))):
        _outline(draw, area, class_colour(box.class_index), stroke, box.dashed)
    for box, area, label in reversed(list(zip(boxes, areas, labels))):
        if label is not None:
            _draw_label(draw, label, area, class_colour(box.class_index), font, font_size, stroke)
    return np.ascontiguousarray(np.asarray(canvas)[:, :, ::-1])


def sizes(size: Tuple[int, int]) -> Tuple[int, int]:
    """Return the height of the font and the width of outlines for a picture of a size (width, height)."""
    diagonal = (size[0] ** 2 + size[1] ** 2) ** 0.5
    font_size = int(min(max(diagonal / _FONT_SHARE, _SMALLEST_FONT), _LARGEST_FONT))
    return font_size, max(2, font_size // 8)


def _area(corners: Sequence[float], factor: int, size: Tuple[int, int]) -> _Area:
    """Scale a box to the drawn picture, rounded and clipped."""
    return tuple(
        int(min(max(round(float(value) * factor), 0), limit - 1)) for value, limit in zip(corners, size * 2)
    )


def _place_labels(
    boxes: Sequence[Box],
    areas: Sequence[_Area],
    class_names: Sequence[str],
    size: Tuple[int, int],
    font: Any,
    font_size: int,
) -> List[Optional[_Label]]:
    """Give every box the nearest place for a label that no other label has; None where there is none."""
    margin = max(2, font_size // 5)
    labels: List[Optional[_Label]] = []
    taken: List[_Area] = []
    for box, area in zip(boxes, areas):
        name = drawable(class_names[box.class_index], box.class_index, font)
        text = _shorten(name, box.suffix, font, int(size[0] * _LONGEST) - 2 * margin)
        width, height = (side + 2 * margin for side in text_size(text, font))
        place = None
        if width <= size[0] and height <= size[1]:
            place = _find_place(area, width, height, size, taken)
        labels.append(None if place is None else _Label(text, *place))
        if place is not None:
            taken.append(place[0])
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
) -> Optional[Tuple[_Area, bool]]:
    """The nearest free place of a label, and whether it is away from its box."""
    for number, (x, y) in enumerate(
        itertools.chain(_at_box(area, width, height), _around(area, width, height, size))
    ):
        left, top = max(0, min(x, size[0] - width)), max(0, min(y, size[1] - height))
        place = (left, top, left + width, top + height)
        if not any(_overlap(place, other) for other in taken):
            return place, number >= _AT_BOX and not _overlap(place, area)
    return None


#: the number of places that _at_box gives
_AT_BOX = 10


def _at_box(area: _Area, width: int, height: int) -> Iterator[Tuple[int, int]]:
    left, top, right, bottom = area
    yield from (
        (left, top - height),
        (left, top),
        (right - width, top - height),
        (left, bottom),
        (right - width, top),
        (left, bottom - height),
        (right - width, bottom),
        (right - width, bottom - height),
        (right, top),
        (left - width, top),
    )


def _around(area: _Area, width: int, height: int, size: Tuple[int, int]) -> List[Tuple[int, int]]:
    """Every place of a grid over the picture, the nearest to the box's upper left corner first."""
    places = [
        (x, y)
        for y in range(0, max(1, size[1] - height + 1), height)
        for x in range(0, max(1, size[0] - width + 1), max(1, width // 2))
    ]
    return sorted(places, key=lambda place: (place[0] - area[0]) ** 2 + (place[1] - area[1]) ** 2)


def _overlap(one: _Area, other: _Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _outline(draw: Any, area: _Area, colour: Tuple[int, int, int], stroke: int, dashed: bool) -> None:
    left, top, right, bottom = area
    if not dashed:
        for inset in range(stroke):
            if right - left > 2 * inset and bottom - top > 2 * inset:
                draw.rectangle((left + inset, top + inset, right - inset, bottom - inset), outline=colour)
        return
    dash = 4 * stroke
    for x in range(left, right + 1, 2 * dash):
        for y in (top, bottom):
            draw.line((x, y, min(x + dash, right), y), fill=colour, width=stroke)
    for y in range(top, bottom + 1, 2 * dash):
        for x in (left, right):
            draw.line((x, y, x, min(y + dash, bottom)), fill=colour, width=stroke)


def _draw_label(
    draw: Any,
    label: _Label,
    area: _Area,
    colour: Tuple[int, int, int],
    font: Any,
    font_size: int,
    stroke: int,
) -> None:
    left, top, right, bottom = label.area
    if label.is_away:  # a line shows where it belongs
        start = (min(max(area[0], left), right), min(max(area[1], top), bottom))
        draw.line((*start, area[0], area[1]), fill=colour, width=max(1, stroke // 2))
    draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)
    margin = max(2, font_size // 5)
    draw.text((left + margin, top + margin), label.text, fill=ink_on(colour), font=font)
