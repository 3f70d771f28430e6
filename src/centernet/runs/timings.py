"""The time that the stages of an evaluation take."""

import time
from typing import Any, Dict, List, NamedTuple

import numpy as np

#: per image: read and decode the file; preprocess; run the network; decode its output; convert the boxes to
#: image pixels
STAGES = ('load', 'pre', 'net', 'dec', 'post')


class ImageTimes(NamedTuple):
    """The times of one image in milliseconds; the time of a batch is divided equally among its images.

    ``load`` and ``pre`` are spent in the worker processes, if there are any, while the network runs. ``wall``
    is the time from the end of the previous batch to the end of this image's batch: the sum over all images
    is the duration of the loop. ``warm_up``: the image was in one of the first batches, which are slower
    because memory is allocated and algorithms are selected.
    """

    load: float
    pre: float
    net: float
    dec: float
    post: float
    wall: float
    warm_up: bool


class StageClock:
    """Measures the stages of a batch.

    Attributes:
        stages: milliseconds by stage.
        now: ``time.perf_counter()`` at the last stop.
    """

    def __init__(self) -> None:
        self.stages = {'net': 0.0, 'dec': 0.0, 'post': 0.0}
        self.now = time.perf_counter()

    def stop(self, stage: str) -> None:
        """Add the time since the last stop to a stage."""
        before, self.now = self.now, time.perf_counter()
        self.stages[stage] += 1000 * (self.now - before)


def warm_up_batches(batches: int) -> int:
    """Return how many of a run's batches the statistics omit: 3, 1 for a short run, 0 for a single batch."""
    return 3 if batches >= 12 else 1 if batches >= 2 else 0


def summarise(times: List[ImageTimes]) -> Dict[str, Any]:
    """Compute statistics over images, in milliseconds per image.

    Returns:
        A dict with, for every stage, ``mean``, ``median`` and ``p95`` (linear interpolation between ranks)
        over the images after the warm-up; ``warm_up_images``, the number of the others; ``images``,
        ``total_ms`` and ``mean_ms`` (duration of the loop) over all images; and ``images_per_second`` after
        the warm-up. :func:`.score.score` adds ``per_device`` if there are several.
    """
    steady = [item for item in times if not item.warm_up] or times
    total = sum(item.wall for item in times)
    return {
        'images': len(times),
        'total_ms': total,
        'mean_ms': total / len(times),
        'images_per_second': 1000 * len(steady) / sum(item.wall for item in steady),
        'warm_up_images': len(times) - len(steady),
        'stages_ms': {stage: _statistics([getattr(item, stage) for item in steady]) for stage in STAGES},
    }


def format_timings(summary: Dict[str, Any]) -> str:
    """Format the statistics as a table, or one for each device if there are several; no trailing newline."""
    if 'per_device' in summary:
        parts = [f'{device}:\n{format_timings(part)}' for device, part in summary['per_device'].items()]
        return '\n\n'.join(parts)
    omitted = summary['warm_up_images']
    note = f'{omitted} warm-up images omitted' if omitted else 'no warm-up omitted'
    lines = [f'stage   mean ms  median ms   p95 ms   (per image; {note})']
    line = '{:<6} {mean:>8.2f} {median:>10.2f} {p95:>8.2f}'
    lines += [line.format(stage, **summary['stages_ms'][stage]) for stage in STAGES]
    line = '{images} images, total {total_ms:.1f} ms, mean {mean_ms:.2f} ms, {images_per_second:.1f} images'
    return '\n'.join([*lines, line.format(**summary) + ' per second'])


def _statistics(values: List[float]) -> Dict[str, float]:
    median, p95 = np.percentile(values, [50, 95])
    return {'mean': float(np.mean(values)), 'median': float(median), 'p95': float(p95)}
