"""Present: the metrics of a run as text, JSON and pictures."""

import json
import os
import re
from typing import Any, List

import numpy as np

from ..coco import CocoData, format_metrics, read_image
from ..drawing import draw_panels, save_picture
from ..system.errors import DataError
from ..system.files import atomic_write
from .run import METRICS_NAME, Run
from .score import Score
from .timings import format_timings

PICTURES_NAME = 'images'


def present(run: Run, score: Score, data: CocoData, pages: Any = None) -> None:
    """Write metrics.json, the pictures that the record asks for, and the report; list them in
    ``score.files``.

    Args:
        run, data: as for :func:`.score.score`.
        score: of the run.
        pages: called with the open run, the data and the document of metrics.json; returns the paths of
            further files.

    Raises:
        OutputError: a file cannot be written.
    """
    path = run.target(METRICS_NAME)
    pictures = _write_pictures(run, data, score.image_ids[: run.record.loading.save_images])
    with atomic_write(path) as file:
        json.dump(score.document, file, allow_nan=False, indent=2)
        file.write('\n')
    score.files.extend([path, *pictures])
    if pages is not None:
        score.files.extend(pages(run, data, score.document))


def format_score(score: Score) -> str:
    """Format the metrics, the times and the images that could not be read, without a trailing newline."""
    parts = [format_metrics(score.metrics), format_timings(score.timings)]
    if score.failed:
        lines = [f'{len(score.failed)} image{"s" * (len(score.failed) > 1)} could not be read:']
        lines += [f'  {image_id}: {reason}' for image_id, reason in score.failed.items()]
        parts.append('\n'.join(lines))
    return '\n\n'.join(parts)


def _write_pictures(run: Run, data: CocoData, image_ids: List[int]) -> List[str]:
    """Draw detections beside ground truth, one PNG file per image; return the paths."""
    class_of = data.channel_of()
    paths = []
    for image_id in image_ids:
        file, results = data.file(image_id), run.read(image_id).results
        try:
            image = read_image(file)
        except DataError:  # it was readable when it was evaluated
            continue
        rows = [item['bbox'] + [item['score'], class_of[item['category_id']]] for item in results]
        detections = np.array(rows, np.float32).reshape(-1, 6)
        detections[:, 2:4] += detections[:, :2]
        stem = re.sub(r'[^\w.-]', '_', os.path.splitext(os.path.basename(file))[0])
        paths.append(run.target(PICTURES_NAME, f'{image_id}_{stem}.png'))
        save_picture(paths[-1], draw_panels(image, detections, data.ground_truth(image_id), data.class_names))
    return paths
