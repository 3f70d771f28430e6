"""A picture of the detections next to one of the ground truth."""

from typing import List, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from ..coco import GroundTruth
from ..drawing import Box, annotate
from ..drawing.text import find_font, text_size

#: The longer side of an image is at most so long.
_LARGEST = 800
#: The panels of images that are wider than this many times their height are stacked vertically.
_WIDE = 1.8
_TITLE_SIZE, _TITLE_HEIGHT, _MARGIN = 16, 28, 6
_BACKGROUND, _TITLE_INK, _GAP = (48, 48, 48), (240, 240, 240), 6


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
    height, width = image.shape[:2]
    factor = min(1.0, _LARGEST / max(height, width))
    if factor < 1:
        size = max(1, round(width * factor)), max(1, round(height * factor))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    detections = np.asarray(detections, np.float32).reshape(-1, 6)
    shown = detections[detections[:, 4] >= threshold]
    shown = shown[np.argsort(-shown[:, 4], kind='stable')]
    found = [Box(row[:4] * factor, int(row[5]), f' {row[4]:.2f}') for row in shown]
    truth = [
        Box(box * factor, int(index), ' (crowd)' if crowd else '', bool(crowd))
        for box, index, crowd in zip(*ground_truth)
    ]
    titles = (f'detections: {len(shown)} (score >= {threshold:g})', f'ground truth: {len(truth)}')
    panels = [
        _panel(annotate(image, boxes, class_names), titles, i) for i, boxes in enumerate((found, truth))
    ]
    wide = width > _WIDE * height
    side = panels[0].shape[1 if wide else 0]
    gap = np.full((_GAP, side, 3) if wide else (side, _GAP, 3), _TITLE_INK, np.uint8)
    return np.concatenate([panels[0], gap, panels[1]], axis=0 if wide else 1)


def _panel(picture: np.ndarray, titles: Sequence[str], index: int) -> np.ndarray:
    """Put a title over a picture; it is widened if one of the titles does not fit."""
    font = find_font(_TITLE_SIZE)
    height, width = picture.shape[:2]
    wanted = max([width] + [text_size(title, font)[0] + 2 * _MARGIN for title in titles])
    canvas = Image.new('RGB', (wanted, height + _TITLE_HEIGHT), _BACKGROUND)
    canvas.paste(Image.fromarray(np.ascontiguousarray(picture[:, :, ::-1])), (0, _TITLE_HEIGHT))
    ImageDraw.Draw(canvas).text((_MARGIN, _MARGIN // 2), titles[index], fill=_TITLE_INK, font=font)
    return np.ascontiguousarray(np.asarray(canvas)[:, :, ::-1])
