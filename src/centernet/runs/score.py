"""Score: the metrics of a run's detections against the annotations."""

import json
from typing import Any, Dict, List, NamedTuple

from ..coco import CocoData, CocoMetrics, ResultTable, compute_metrics
from ..options.fields import to_json
from ..system.errors import DataError, Interrupted
from ..system.files import atomic_write
from ..system.processes import ProcessError
from .record import Record
from .run import RESULTS_NAME, Run
from .timings import ImageTimes, summarise


class Score(NamedTuple):
    """The metrics of a run.

    ``record`` and ``sessions``: of the run. ``metrics``: COCO's. ``timings``: see
    :func:`.timings.summarise`. ``image_ids``: of the finished images, in the data set's order. ``failed``:
    image id -> reason for the images that could not be read. ``files``: the written ones; the first is
    results.json.
    """

    record: Record
    sessions: List[Record]
    metrics: CocoMetrics
    timings: Dict[str, Any]
    image_ids: List[int]
    failed: Dict[int, str]
    files: List[str]

    @property
    def document(self) -> Dict[str, Any]:
        """The content of metrics.json."""
        return {
            'metrics': self.metrics.stats,
            'per_class': self.metrics.per_class,
            'images': len(self.image_ids),
            'failed_images': {str(image_id): reason for image_id, reason in self.failed.items()},
            'timings': self.timings,
            'record': to_json(self.record),
            'sessions': [session.session() for session in self.sessions],
        }

    @property
    def detections(self) -> List[Dict[str, Any]]:
        """All detections in COCO's results format, in the data set's order, read from results.json."""
        with open(self.files[0], encoding='utf-8') as file:
            return json.load(file)

    @property
    def exit_status(self) -> int:
        """1 if images could not be read and ``on_bad_image`` is ``fail``, else 0."""
        return int(bool(self.failed) and self.record.loading.on_bad_image == 'fail')


def score(run: Run, data: CocoData) -> Score:
    """Compute the metrics of a run's finished images, and write its results.json.

    Detections are read from the journal image by image, in the data set's order.

    Args:
        run: open to write.
        data: the data set, with the run's channels.

    Raises:
        DataError: no selected image could be read.
        OutputError: a file cannot be written.
        Interrupted: a process that computes the metrics was killed.
    """
    selected = run.record.selection.of(data.image_ids, data.annotations)
    image_ids = [image_id for image_id in selected if image_id in run.finished]
    failed = {image_id: run.failed[image_id] for image_id in selected if image_id in run.failed}
    if not image_ids:
        first = next(iter(failed.values()), 'none is finished')
        raise DataError(f'none of the {len(selected)} images could be read; the first: {first}')
    times: Dict[str, List[ImageTimes]] = {}
    path, separator = run.target(RESULTS_NAME), ''
    table = ResultTable(folder=run.folder)
    with atomic_write(path) as file:  # it appears once there are metrics, too
        file.write('[')
        for image_id in image_ids:
            image = run.read(image_id)
            if image.results:
                text = json.dumps(image.results, allow_nan=False, separators=(',', ':'))
                file.write(separator + text[1:-1])
                separator = ','
            table.add(image.results)
            session = run.sessions[run.finished[image_id].session]
            times.setdefault(str(session.environment), []).append(image.times)
        file.write(']\n')
        try:
            metrics = compute_metrics(data, table, image_ids)
        except ProcessError as error:
            raise Interrupted(
                f'a process that computes the metrics {error.how}, perhaps out of memory:'
                f' {len(image_ids)} images are finished; the same command with --resume continues'
            ) from error
    timings = summarise([item for part in times.values() for item in part])
    if len(times) > 1:
        timings['per_device'] = {device: summarise(part) for device, part in times.items()}
    return Score(run.record, run.sessions, metrics, timings, image_ids, failed, [path])
