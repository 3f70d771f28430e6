"""The output of an evaluation: files for machines, text and pictures for people."""

import json
import os
import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import numpy as np

from ..coco import CocoData, CocoMetrics, compute_metrics, format_metrics, read_image
from ..drawing import save_picture
from ..errors import DataError
from ..files import atomic_write, ensure_folder
from ..provenance import versions
from .eval_options import EvalOptions, protocol
from .journal import Record
from .panels import draw
from .timings import format_timings, summarise

RESULTS_NAME, METRICS_NAME, PICTURES_NAME = 'results.json', 'metrics.json', 'images'


class Evaluation(NamedTuple):
    """The result of :func:`centernet.evaluation.evaluate`.

    ``metrics``: COCO's figures. ``timings``: see :func:`centernet.evaluation.timings.summarise`. ``results``:
    all detections in COCO's results format, in the data set's order. ``failed``: image id -> reason for the
    images that could not be read. ``document``: the content of metrics.json. ``files``: paths of the written
    files. ``exit_status``: 1 if images failed and ``on_bad_image`` is ``fail``, else 0.
    """

    metrics: CocoMetrics
    timings: Dict[str, Any]
    results: List[Dict[str, Any]]
    failed: Dict[int, str]
    document: Dict[str, Any]
    files: List[str]
    exit_status: int


def conclude(
    runner: Callable,
    data: CocoData,
    annotations_sha256: str,
    options: EvalOptions,
    folder: str,
    finished: List[Record],
    failed: Dict[int, str],
) -> Evaluation:
    """Compute the figures of the finished images and write the files.

    Args:
        runner, data, options: as for :func:`centernet.evaluation.evaluate`.
        annotations_sha256: of the annotations file when the run started.
        folder: the output folder; it exists.
        finished: the finished images, in the data set's order.
        failed: image id -> reason for the images that could not be read.
    """
    results = [result for record in finished for result in record.results]
    metrics = compute_metrics(data, results, [record.image_id for record in finished])
    timings = summarise([record.times for record in finished])
    document = {
        'metrics': metrics.stats,
        'per_class': metrics.per_class,
        'images': len(finished),
        'failed_images': {str(image_id): reason for image_id, reason in failed.items()},
        'timings': timings,
        'protocol': protocol(options),
        'network': runner.describe(),
        'data': {
            'annotations': data.annotations,
            'annotations_sha256': annotations_sha256,
            'images': data.images,
            'image_ids': _selected(data, finished),
            'categories': [category and dict(zip(('id', 'name'), category)) for category in data.channels],
        },
        'batch_size': options.batch_size,
        'workers': options.workers,
        'versions': versions(),
    }
    pictures = _write_pictures(folder, data, finished[: options.save_images])
    files = [
        _write_json(os.path.join(folder, RESULTS_NAME), results, separators=(',', ':')),
        _write_json(os.path.join(folder, METRICS_NAME), document, indent=2),
    ]
    exit_status = 1 if failed and options.on_bad_image == 'fail' else 0
    return Evaluation(metrics, timings, results, failed, document, files + pictures, exit_status)


def format_report(metrics: CocoMetrics, timings: Dict[str, Any], failed: Dict[int, str]) -> str:
    """Format the figures, the times and the images that could not be read, without a trailing newline."""
    parts = [format_metrics(metrics), format_timings(timings)]
    if failed:
        lines = ['{} image{} could not be read:'.format(len(failed), '' if len(failed) == 1 else 's')]
        lines += [f'  {image_id}: {reason}' for image_id, reason in failed.items()]
        parts.append('\n'.join(lines))
    return '\n\n'.join(parts)


def _selected(data: CocoData, finished: List[Record]) -> Optional[List[int]]:
    """Return the ids of the finished images, or None if these are all of the data set's."""
    ids = [record.image_id for record in finished]
    return None if ids == data.image_ids else ids


def _write_pictures(folder: str, data: CocoData, records: List[Record]) -> List[str]:
    """Draw detections beside ground truth, one PNG file per image; return the paths."""
    if not records:
        return []
    folder = ensure_folder(os.path.join(folder, PICTURES_NAME))
    class_of = data.channel_of()
    paths = []
    for record in records:
        file = data.file(record.image_id)
        try:
            image = read_image(file)
        except DataError:  # it was readable when it was evaluated
            continue
        rows = [item['bbox'] + [item['score'], class_of[item['category_id']]] for item in record.results]
        detections = np.array(rows, np.float32).reshape(-1, 6)
        detections[:, 2:4] += detections[:, :2]
        stem = re.sub(r'[^\w.-]', '_', os.path.splitext(os.path.basename(file))[0])
        paths.append(os.path.join(folder, f'{record.image_id}_{stem}.png'))
        save_picture(paths[-1], draw(image, detections, data.ground_truth(record.image_id), data.class_names))
    return paths


def _write_json(path: str, value: Any, **style: Any) -> str:
    with atomic_write(path) as file:
        json.dump(value, file, allow_nan=False, **style)
        file.write('\n')
    return path
