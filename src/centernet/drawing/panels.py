"""A picture of the detections next to one of the ground truth."""

from typing import List, Sequence

import numpy as np
from PIL import Image, ImageDraw

from .boxes import Box, annotate
from .pictures import reduce_picture
from .text import find_font, text_size

#: The longer side of an image is at most so long.
_LARGEST = 800
#: The panels of images that are wider than this many times their height are stacked vertically.
_WIDE = 1.8
_TITLE_SIZE, _TITLE_HEIGHT, _MARGIN = 16, 28, 6
_BACKGROUND, _TITLE_INK, _GAP = (48, 48, 48), (240, 240, 240), 6


def draw_panels(
    image: np.ndarray,
    detections: np.ndarray,
    ground_truth: Sequence[np.ndarray],
    class_names: List[str],
    threshold: float = 0.3,
) -> np.ndarray:
    """Draw detections next to the ground truth.

    Args:
        image: uint8 [H, W, 3], BGR. Small images are enlarged and large ones reduced.
        detections: float32 [m, 6]: x1, y1, x2, y2 in image pixels, score, class index.
        ground_truth: the annotated objects, a :class:`centernet.coco.GroundTruth`; crowds get dashed boxes.
        class_names: names by class index. A class has the same colour in every picture.
        threshold: detections with a lower score are not drawn.

    Returns:
        uint8 [H', W', 3], BGR: two panels with titles, side by side or, for wide images, stacked vertically.
    """
    height, width = image.shape[:2]
    image, factor = reduce_picture(image, _LARGEST)
    shown = detections[detections[:, 4] >= threshold]
    shown = shown[np.argsort(-shown[:, 4], kind='stable')]
    found = [Box(row[:4] * factor, int(row[5]), f' {row[4]:.2f}') for row in shown]
    truth = [
        Box(box * factor, int(index), ' (crowd)' if crowd else '', bool(crowd))
        for box, index, crowd in zip(*ground_truth)
    ]
    titles = f'detections: {len(shown)} (score >= {threshold:g})', f'ground truth: {len(truth)}'
    widest = max(text_size(title, find_font(_TITLE_SIZE))[0] for title in titles) + 2 * _MARGIN
    pictures = (annotate(image, boxes, class_names) for boxes in (found, truth))
    first, second = (_panel(picture, title, widest) for picture, title in zip(pictures, titles))
    axis = 0 if width > _WIDE * height else 1
    shape = list(first.shape)
    shape[axis] = _GAP
    return np.concatenate([first, np.full(shape, _TITLE_INK, np.uint8), second], axis)


def _panel(picture: np.ndarray, title: str, least: int) -> np.ndarray:
    """Put a title over a picture, which is widened to the least width."""
    height, width = picture.shape[:2]
    canvas = Image.new('RGB', (max(width, least), height + _TITLE_HEIGHT), _BACKGROUND)
    canvas.paste(Image.fromarray(np.ascontiguousarray(picture[:, :, ::-1])), (0, _TITLE_HEIGHT))
    font = find_font(_TITLE_SIZE)
    ImageDraw.Draw(canvas).text((_MARGIN, _MARGIN // 2), title, fill=_TITLE_INK, font=font)
    return np.ascontiguousarray(np.asarray(canvas)[:, :, ::-1])
