"""What an evaluation leaves behind: files for machines, text and pictures for people."""

import json
import os
import re
from typing import Any, Dict, List, Optional

import numpy as np

from ..coco import CocoData, CocoMetrics, format_metrics, read_image
from ..errors import DataError
from ..files import atomic_write, ensure_folder
from .drawing import draw, save_png
from .timings import format_timings

RESULTS_NAME, METRICS_NAME, PICTURES_NAME = 'results.json', 'metrics.json', 'images'


def write_results(folder: str, results: List[Dict[str, Any]]) -> str:
    """Write detections in COCO's results format; returns the path."""
    return _write_json(os.path.join(folder, RESULTS_NAME), results, separators=(',', ':'))


def write_metrics(folder: str, document: Dict[str, Any]) -> str:
    """Write metrics.json; returns the path."""
    return _write_json(os.path.join(folder, METRICS_NAME), document, indent=2)


def write_pictures(
    folder: str, data: CocoData, results: Dict[int, List[Dict[str, Any]]], image_ids: List[int]
) -> List[str]:
    """Draw the detections of some images beside their ground truth, as PNG files.

    Args:
        folder: the output folder; the pictures go into ``images`` there.
        data: the data set.
        results: image id -> its detections in COCO's results format.
        image_ids: the images to draw. One that can no longer be read is left out.

    Returns:
        The paths.
    """
    if not image_ids:
        return []
    folder = ensure_folder(os.path.join(folder, PICTURES_NAME))
    class_of = {category: index for index, (category, _) in enumerate(data.categories)}
    paths = []
    for image_id in image_ids:
        try:
            image = read_image(data.file(image_id))
        except DataError:
            continue
        rows = [item['bbox'] + [item['score'], class_of[item['category_id']]] for item in results[image_id]]
        detections = np.array(rows, np.float32).reshape(-1, 6)
        detections[:, 2:4] += detections[:, :2]
        stem = re.sub(r'[^\w.-]', '_', os.path.splitext(os.path.basename(data.file(image_id)))[0])
        paths.append(os.path.join(folder, f'{image_id}_{stem}.png'))
        save_png(paths[-1], draw(image, detections, data.ground_truth(image_id), data.class_names))
    return paths


def format_report(
    metrics: CocoMetrics,
    timings: Dict[str, Any],
    failed: Dict[int, str],
    damaged: Optional[Dict[int, str]] = None,
) -> str:
    """The figures, the times and the images that could not be read or are damaged, as text without a trailing
    newline."""
    parts = [format_metrics(metrics), format_timings(timings)]
    for images, one, many in (
        (failed, 'could not be read', 'could not be read'),
        (damaged, 'is damaged and counts all the same', 'are damaged and count all the same'),
    ):
        if images:
            parts.append(
                '{} image{}:\n{}'.format(
                    len(images),
                    ' ' + one if len(images) == 1 else 's ' + many,
                    '\n'.join(f'  {image_id}: {message}' for image_id, message in images.items()),
                )
            )
    return '\n\n'.join(parts)


def _write_json(path, value, **style):
    with atomic_write(path) as file:
        json.dump(value, file, allow_nan=False, **style)
        file.write('\n')
    return path
