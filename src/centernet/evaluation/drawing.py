"""Draw detections next to the ground truth."""

import colorsys
import unicodedata
from typing import List, NamedTuple, Sequence, Tuple

import cv2
import numpy as np

from ..coco import GroundTruth
from ..errors import OutputError
from ..files import atomic_write

#: Limits of a panel's longer side in pixels: images are resized to them so that the text fits.
_SMALLEST, _LARGEST = 560, 800
#: The panels of images that are wider than this many times their height are stacked vertically.
_WIDE = 1.8
_FONT, _TEXT_SCALE, _TITLE_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45, 0.55
#: Maximum width of a label in pixels; longer class names are shortened.
_LABEL_WIDTH = 240
_MARGIN = 3
_TITLE_HEIGHT = 28
_BACKGROUND, _TITLE_INK, _GAP = (48, 48, 48), (240, 240, 240), 6


_Corners = Tuple[int, int, int, int]  # x1, y1, x2, y2


class _Box(NamedTuple):
    """A box to draw: x1, y1, x2, y2 in image pixels, class index, the end of its label, dashed or solid."""

    box: List[float]
    class_index: int
    suffix: str
    dashed: bool


class _Item(NamedTuple):
    """A box in a panel: corners in panel pixels, label, colour (BGR), dashed or solid."""

    corners: _Corners
    name: str
    suffix: str
    colour: Tuple[int, int, int]
    dashed: bool


def draw(
    image: np.ndarray,
    detections: np.ndarray,
    ground_truth: GroundTruth,
    class_names: List[str],
    threshold: float = 0.3,
) -> np.ndarray:
    """Draw detections next to the ground truth.

    Args:
        image: uint8 [H, W, 3], BGR. Small images are enlarged and large ones reduced.
        detections: float32 [m, 6]: x1, y1, x2, y2 in image pixels, score, class index.
        ground_truth: the annotated objects; crowds get dashed boxes.
        class_names: names by class index. A class has the same colour in every picture.
        threshold: detections with a lower score are not drawn.

    Returns:
        uint8 [H', W', 3], BGR: two panels with titles, side by side or, for wide images, stacked vertically.
    """
    detections = np.asarray(detections, np.float32).reshape(-1, 6)
    shown = detections[detections[:, 4] >= threshold]
    shown = shown[np.argsort(-shown[:, 4], kind='stable')]
    titles = [
        f'detections: {len(shown)} (score >= {threshold:g})',
        f'ground truth: {len(ground_truth.boxes)}',
    ]
    classes = shown[:, 5].astype(int).tolist()
    found = [
        _Box(box, index, f' {score:.2f}', False)
        for box, index, score in zip(shown[:, :4].tolist(), classes, shown[:, 4].tolist())
    ]
    truth = [
        _Box(box, index, ' (crowd)' if crowd else '', crowd)
        for box, index, crowd in zip(*(part.tolist() for part in ground_truth))
    ]
    panels = [_panel(image, title, boxes, class_names) for title, boxes in zip(titles, (found, truth))]
    wide = image.shape[1] > _WIDE * image.shape[0]
    height, width = panels[0].shape[:2]
    gap = np.full((_GAP, width, 3) if wide else (height, _GAP, 3), _TITLE_INK, np.uint8)
    return np.concatenate([panels[0], gap, panels[1]], axis=0 if wide else 1)


def save_png(path: str, picture: np.ndarray) -> None:
    """Write a picture (uint8 [H, W, 3], BGR) as a PNG file, atomically.

    Raises:
        OutputError: the picture cannot be encoded or the file cannot be written.
    """
    encoded, data = cv2.imencode('.png', picture)
    if not encoded:
        raise OutputError(f'cannot write {path}: the picture cannot be encoded')
    with atomic_write(path, 'wb') as file:
        file.write(data.tobytes())


def class_colour(index: int) -> Tuple[int, int, int]:
    """Return a bright colour (BGR) for a class index; consecutive classes differ clearly in hue."""
    hue = (0.03 + index * 0.618034) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.85, 0.6, 1.0)[index % 3], (1.0, 0.95, 0.8)[index % 3])
    return int(blue * 255), int(green * 255), int(red * 255)


def ascii_name(name: str, index: int) -> str:
    """Convert a class name to the ASCII characters that OpenCV can draw.

    Accents are removed; a name without any ASCII letter or digit becomes ``class 7``.
    """
    plain = ''.join(
        letter for letter in unicodedata.normalize('NFKD', name) if not unicodedata.combining(letter)
    )
    plain = ''.join(letter if ' ' <= letter <= '~' else '?' for letter in ' '.join(plain.split()))
    return plain if any(letter.isalnum() for letter in plain) else f'class {index}'


def _panel(image: np.ndarray, title: str, boxes: List[_Box], class_names: List[str]) -> np.ndarray:
    """Draw one image with its boxes and labels under a title strip."""
    height, width = image.shape[:2]
    factor = min(max(_SMALLEST / max(height, width), 1), _LARGEST / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC if factor > 1 else cv2.INTER_NEAREST
    # A panel is at least as wide as the widest title; the rest is background.
    canvas_width = max(
        size[0], _text_size('detections: 100 (score >= 0.333333)', _TITLE_SCALE)[0] + 4 * _MARGIN
    )
    canvas = np.full((max(size[1], 3 * _TITLE_HEIGHT), canvas_width, 3), _BACKGROUND, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(image, size, interpolation=method)
    items = [
        _Item(
            _corners(box.box, (width, height), size),
            ascii_name(class_names[box.class_index], box.class_index),
            box.suffix,
            class_colour(box.class_index),
            box.dashed,
        )
        for box in boxes
    ]
    # The first (best) item chooses its label's place first and is drawn last, on top of the others.
    taken: List[_Corners] = []
    labels = [_place(canvas, item, taken) for item in items]
    for item in reversed(items):
        _outline(canvas, item)
    for item, (text, corners) in reversed(list(zip(items, labels))):
        _label(canvas, text, corners, item.colour)
    strip = np.full((_TITLE_HEIGHT, canvas_width, 3), _BACKGROUND, np.uint8)
    cv2.putText(
        strip, title, (2 * _MARGIN, _TITLE_HEIGHT - 9), _FONT, _TITLE_SCALE, _TITLE_INK, 1, cv2.LINE_AA
    )
    return np.concatenate([strip, canvas])


def _corners(box: Sequence[float], size: Tuple[int, int], drawn_size: Tuple[int, int]) -> _Corners:
    """Scale a box to the drawn image, rounded and clipped; sizes are (width, height)."""
    return tuple(
        int(min(max(round(value * drawn / actual), 0), drawn - 1))
        for value, actual, drawn in zip(box, size * 2, drawn_size * 2)
    )


def _text_size(text: str, scale: float) -> Tuple[int, int]:
    (width, height), below = cv2.getTextSize(text, _FONT, scale, 1)
    return width, height + below


def _place(canvas: np.ndarray, item: _Item, taken: List[_Corners]) -> Tuple[str, _Corners]:
    """Return the label's text, shortened if necessary, and its place near the box, where it hides the least
    of other labels."""
    limit_y, limit_x = canvas.shape[:2]
    text = item.name + item.suffix
    for length in range(len(item.name) - 1, -1, -1):
        if _text_size(text, _TEXT_SCALE)[0] + 2 * _MARGIN <= min(_LABEL_WIDTH, limit_x):
            break
        text = item.name[:length] + '...' + item.suffix
    width, height = (side + 2 * _MARGIN for side in _text_size(text, _TEXT_SCALE))
    left, top, right, bottom = item.corners
    best = None
    for x, y in (
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
        (right, bottom - height),
        (left - width, bottom - height),
    ):
        x, y = max(0, min(x, limit_x - width)), max(0, min(y, limit_y - height))
        place = x, y, x + width, y + height
        hidden = sum(_overlap(place, other) for other in taken)
        if best is None or hidden < best[0]:
            best = hidden, place
        if not hidden:
            break
    taken.append(best[1])
    return text, best[1]


def _overlap(one: _Corners, other: _Corners) -> int:
    """Return the number of pixels that two rectangles share."""
    return max(0, min(one[2], other[2]) - max(one[0], other[0])) * max(
        0, min(one[3], other[3]) - max(one[1], other[1])
    )


def _outline(canvas: np.ndarray, item: _Item) -> None:
    left, top, right, bottom = item.corners
    if not item.dashed:
        cv2.rectangle(canvas, (left, top), (right, bottom), item.colour, 2)
        return
    dash = 8
    for x in range(left, right + 1, 2 * dash):
        for y in (top, bottom):
            cv2.line(canvas, (x, y), (min(x + dash, right), y), item.colour, 2)
    for y in range(top, bottom + 1, 2 * dash):
        for x in (left, right):
            cv2.line(canvas, (x, y), (x, min(y + dash, bottom)), item.colour, 2)


def _label(canvas: np.ndarray, text: str, place: _Corners, colour: Tuple[int, int, int]) -> None:
    left, top, right, bottom = place
    cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), colour, cv2.FILLED)
    blue, green, red = colour
    ink = (0, 0, 0) if 0.114 * blue + 0.587 * green + 0.299 * red > 110 else (255, 255, 255)
    (_, height), _ = cv2.getTextSize(text, _FONT, _TEXT_SCALE, 1)
    cv2.putText(
        canvas, text, (left + _MARGIN, top + _MARGIN + height), _FONT, _TEXT_SCALE, ink, 1, cv2.LINE_AA
    )
