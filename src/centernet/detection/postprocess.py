"""Map boxes from output cells to image pixels, and merge the detections of several scales."""

from typing import List, Sequence

import numpy as np

from .geometry import Geometry
from .heads import RawBoxes
from .soft_nms import soft_nms


def postprocess(raw: RawBoxes, geometries: Sequence[Geometry]) -> List[np.ndarray]:
    """Map boxes from output cells to pixels of the original images.

    Args:
        raw: boxes of N images.
        geometries: the N Geometry objects that :func:`preprocess` returned for these images.

    Returns:
        N float32 arrays [k, 6]: x1, y1, x2, y2 in pixels of the original image, score, class index; sorted by
        descending score. Boxes are not clipped to the image.

    Raises:
        ValueError: the numbers of images and geometries differ.
    """
    if len(geometries) != len(raw.boxes):
        raise ValueError(f'boxes of {len(raw.boxes)} images, but {len(geometries)} geometries')
    if not len(geometries):
        return []
    boxes, scores, classes = (part.detach().cpu().numpy() for part in raw)
    # float64 [N, 1, 1] per coefficient, against points [N, k, 2 corners]
    a, b, c, d, e, f = np.stack([geometry.from_output().ravel() for geometry in geometries]).T[
        :, :, np.newaxis, np.newaxis
    ]
    x, y = boxes[..., 0::2], boxes[..., 1::2]
    detections = np.empty(boxes.shape[:2] + (6,), dtype=np.float32)
    detections[..., 0:4:2] = a * x + b * y + c
    detections[..., 1:4:2] = d * x + e * y + f
    detections[..., :4] /= np.array([geometry.test_scale for geometry in geometries], dtype=np.float32)[
        :, np.newaxis, np.newaxis
    ]
    detections[..., 4] = scores
    detections[..., 5] = classes
    return list(detections)


def merge(per_scale: Sequence[np.ndarray], nms: bool = False, max_per_image: int = 100) -> np.ndarray:
    """Merge the detections of one image over its test scales.

    Args:
        per_scale: one float array [k, 6] per test scale, from :func:`postprocess`; k may differ.
        nms: apply soft-NMS per class; always applied to several scales.
        max_per_image: number of detections to keep, plus any that tie with the last of them.

    Returns:
        float32 [m, 6], class by class; within a class in the order of ``per_scale`` or, with soft-NMS, in the
        order of selection. This is the order of the published code, and COCO's evaluation depends on it where
        rounded scores are equal.
    """
    detections = np.concatenate([np.asarray(part, dtype=np.float32).reshape(-1, 6) for part in per_scale])
    detections = detections[np.argsort(detections[:, 5], kind='mergesort')]
    if nms or len(per_scale) > 1:
        first = np.flatnonzero(np.diff(detections[:, 5])) + 1
        detections = np.concatenate([_suppress(part) for part in np.split(detections, first)])
    if len(detections) > max_per_image:
        last = len(detections) - max_per_image
        detections = detections[detections[:, 4] >= np.partition(detections[:, 4], last)[last]]
    return detections


def _suppress(detections):
    if len(detections) < 2:
        return detections
    index, scores = soft_nms(detections[:, :4], detections[:, 4])
    detections = detections[index]
    detections[:, 4] = scores
    return detections
