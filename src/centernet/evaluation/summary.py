"""The output of an evaluation: files for machines, text and pictures for people."""

import contextlib
import json
import os
import re
from typing import Any, Dict, List, NamedTuple

import numpy as np

from ..coco import CocoData, CocoMetrics, ResultTable, compute_metrics, format_metrics, read_image
from ..drawing import save_picture
from ..errors import DataError
from ..files import atomic_write, ensure_folder
from .journal import Journal
from .panels import draw
from .timings import ImageTimes, describe_device_of, format_timings, summarise

RESULTS_NAME, METRICS_NAME, PICTURES_NAME = 'results.json', 'metrics.json', 'images'


class Evaluation(NamedTuple):
    """The result of :func:`centernet.evaluation.evaluate`.

    ``metrics``: COCO's figures. ``timings``: see :func:`centernet.evaluation.timings.summarise`. ``failed``:
    image id -> reason for the images that could not be read. ``document``: the content of metrics.json.
    ``files``: paths of the written files; the first is results.json. ``exit_status``: 1 if images failed and
    ``on_bad_image`` is ``fail``, else 0.
    """

    metrics: CocoMetrics
    timings: Dict[str, Any]
    failed: Dict[int, str]
    document: Dict[str, Any]
    files: List[str]
    exit_status: int

    @property
    def results(self) -> List[Dict[str, Any]]:
        """All detections in COCO's results format, in the data set's order, read from results.json."""
        with open(self.files[0], encoding='utf-8') as file:
            return json.load(file)


class Made(NamedTuple):
    """What made an evaluation, for metrics.json.

    ``network``: the runner's description. ``protocol``: see :func:`.eval_options.protocol`.
    ``annotations_sha256``: of the annotations file when the run started. ``versions``: see
    :func:`centernet.provenance.versions`. The others are those of :class:`.EvalOptions`.
    """

    network: Dict[str, Any]
    protocol: Dict[str, Any]
    annotations_sha256: str
    versions: Dict[str, Any]
    batch_size: int
    workers: int
    on_bad_image: str
    save_images: int = 0


def conclude(
    journal: Journal, image_ids: List[int], failed: Dict[int, str], data: CocoData, made: Made, folder: str
) -> Evaluation:
    """Compute the figures of the finished images and write the files.

    Args:
        journal: with the finished images; they are read one by one.
        image_ids: those to conclude from, all finished, in the data set's order.
        failed: image id -> reason for the images that could not be read.
        data: the data set.
        made: what made the detections.
        folder: the output folder; it exists.

    Raises:
        ProcessError: a process that computes the figures was killed.
    """
    is_first = True
    times: Dict[str, List[ImageTimes]] = {}
    path = os.path.join(folder, RESULTS_NAME)
    # the file appears once there are figures, too
    with contextlib.closing(ResultTable(folder)) as table, atomic_write(path) as file:
        file.write('[')
        for image_id in image_ids:
            record = journal.read(image_id)
            if record.results:
                text = json.dumps(record.results, allow_nan=False, separators=(',', ':'))
                file.write(('' if is_first else ',') + text[1:-1])
                is_first = False
            table.add(record.results)
            times.setdefault(describe_device_of(journal.session_of(image_id)), []).append(record.times)
        file.write(']\n')
        metrics = compute_metrics(data, table, image_ids)
    timings = summarise([item for part in times.values() for item in part])
    if len(times) > 1:
        timings['per_device'] = {device: summarise(part) for device, part in times.items()}
    document = {
        'metrics': metrics.stats,
        'per_class': metrics.per_class,
        'images': len(image_ids),
        'failed_images': {str(image_id): reason for image_id, reason in failed.items()},
        'timings': timings,
        'protocol': made.protocol,
        'network': made.network,
        'data': {
            'annotations': data.annotations,
            'annotations_sha256': made.annotations_sha256,
            'images': data.images,
            'image_ids': None if image_ids == data.image_ids else image_ids,
            'categories': [category and dict(zip(('id', 'name'), category)) for category in data.channels],
        },
        'batch_size': made.batch_size,
        'workers': made.workers,
        'versions': made.versions,
    }
    pictures = _write_pictures(folder, data, journal, image_ids[: made.save_images])
    written = os.path.join(folder, METRICS_NAME)
    with atomic_write(written) as file:
        json.dump(document, file, allow_nan=False, indent=2)
        file.write('\n')
    exit_status = 1 if failed and made.on_bad_image == 'fail' else 0
    return Evaluation(metrics, timings, failed, document, [path, written, *pictures], exit_status)


def format_report(metrics: CocoMetrics, timings: Dict[str, Any], failed: Dict[int, str]) -> str:
    """Format the figures, the times and the images that could not be read, without a trailing newline."""
    parts = [format_metrics(metrics), format_timings(timings)]
    if failed:
        lines = ['{} image{} could not be read:'.format(len(failed), '' if len(failed) == 1 else 's')]
        lines += [f'  {image_id}: {reason}' for image_id, reason in failed.items()]
        parts.append('\n'.join(lines))
    return '\n\n'.join(parts)


def _write_pictures(folder: str, data: CocoData, journal: Journal, image_ids: List[int]) -> List[str]:
    """Draw detections beside ground truth, one PNG file per image; return the paths."""
    if not image_ids:
        return []
    folder = ensure_folder(os.path.join(folder, PICTURES_NAME))
    class_of = data.channel_of()
    paths = []
    for record in map(journal.read, image_ids):
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
