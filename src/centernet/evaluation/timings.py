"""How long the stages of an evaluation take."""

from typing import Dict, List, NamedTuple

import numpy as np

#: per image: reading and decoding the file; preprocessing; the network; finding the boxes; taking them to the
#: image
STAGES = ('load', 'pre', 'net', 'dec', 'post')


class ImageTimes(NamedTuple):
    """What one image cost, in milliseconds; what a batch took is shared out equally among its images.

    ``load`` and ``pre`` are spent in the loader's processes, beside the network when there are any. ``wall``
    is the time from the end of the previous batch to the end of this image's batch, so that the sum over all
    images is the whole loop. ``warm_up``: the image was in one of the first batches, where memory is fetched
    and algorithms are chosen.
    """

    load: float
    pre: float
    net: float
    dec: float
    post: float
    wall: float
    warm_up: bool


def warm_up_batches(batches: int) -> int:
    """How many of a run's batches to leave out of the statistics: three, or one of a short run, or none of a
    single batch."""
    return 3 if batches >= 12 else 1 if batches >= 2 else 0


def summarise(times: List[ImageTimes]) -> Dict:
    """Statistics over images, in milliseconds per image.

    Returns:
        A dict with, for every stage, ``mean``, ``median`` and ``p95`` (linear interpolation between ranks)
        over the images that were not warm-up; ``warm_up_images``, how many were; ``images``, ``total_ms`` and
        ``mean_ms`` (wall time of the loop) over all images; and ``images_per_second``, again without the
        warm-up.
    """
    steady = [item for item in times if not item.warm_up] or times
    total = sum(item.wall for item in times)
    steady_wall = sum(item.wall for item in steady)
    return {
        'images': len(times),
        'total_ms': total,
        'mean_ms': total / len(times) if times else 0.0,
        'images_per_second': 1000 * len(steady) / steady_wall if steady_wall else 0.0,
        'warm_up_images': len(times) - len(steady),
        'stages_ms': {stage: _statistics([getattr(item, stage) for item in steady]) for stage in STAGES},
    }


def format_timings(summary: Dict) -> str:
    """The statistics as a table for people, without a trailing newline."""
    lines = [
        'stage   mean ms  median ms   p95 ms   (per image; {})'.format(
            '{} warm-up images left out'.format(summary['warm_up_images'])
            if summary['warm_up_images']
            else 'no warm-up left out'
        )
    ]
    for stage in STAGES:
        lines.append(
            '{:<6} {mean:>8.2f} {median:>10.2f} {p95:>8.2f}'.format(stage, **summary['stages_ms'][stage])
        )
    lines.append(
        '{} images, total {:.1f} ms, mean {:.2f} ms, {:.1f} images per second'.format(
            summary['images'], summary['total_ms'], summary['mean_ms'], summary['images_per_second']
        )
    )
    return '\n'.join(lines)


def _statistics(values):
    if not values:
        return {'mean': 0.0, 'median': 0.0, 'p95': 0.0}
    median, p95 = np.percentile(values, [50, 95])
    return {'mean': float(np.mean(values)), 'median': float(median), 'p95': float(p95)}
