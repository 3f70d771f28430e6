"""Images read and preprocessed ahead, in worker processes, while the network runs."""

import os
import time
from typing import Dict, Iterator, List, NamedTuple, Tuple

import cv2
import numpy as np

from ..coco import read_image_checked
from ..detection import Geometry, preprocess
from ..errors import DataError
from .processes import ProcessError, ordered_map

#: keep_res: images of one size are looked for among this many batches' worth of images
_WINDOW = 16


class Group(NamedTuple):
    """Images of a batch that have the same input size at one test scale.

    ``positions``: their places in the batch. ``images``: float32 [n, 3, H, W]. ``geometries``: n of them.
    """

    positions: List[int]
    images: np.ndarray
    geometries: List[Geometry]


class Batch(NamedTuple):
    """What the loader hands over: of the readable images the ids, ``load`` and ``pre`` times (ms) and, per
    test scale, groups.

    ``damages``: id -> what its decoder complained of, for those of them that are damaged. ``failures``: id ->
    what is wrong with the image, for those that could not be read.
    """

    ids: List[int]
    times: List[Tuple[float, float]]
    scales: List[List[Group]]
    damages: Dict[int, str]
    failures: Dict[int, str]


class LoaderError(Exception):
    """A loader process died; the message says how, and names the batch that it was at."""


def plan_batches(ids, sizes, batch_size):
    """Which images go together, as lists of indices into ``ids``.

    Args:
        ids: image ids.
        sizes: the input size of every image, or None when all have the same. Images of one size are put
            together, looking at most a few batches ahead; the groups are as long as they can be there, so the
            last of each may be short.
        batch_size: at most so many in a batch.
    """
    if sizes is None or batch_size == 1:
        return [
            list(range(start, min(start + batch_size, len(ids)))) for start in range(0, len(ids), batch_size)
        ]
    batches = []
    for start in range(0, len(ids), _WINDOW * batch_size):
        by_size = {}
        for index in range(start, min(start + _WINDOW * batch_size, len(ids))):
            by_size.setdefault(sizes[index], []).append(index)
        for indices in by_size.values():
            batches += [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]
    return batches


def make_loader(files, spec, test_scales, batches, workers) -> Iterator[Batch]:
    """An iterator of :class:`Batch`; close it where it is not run to its end.

    Args:
        files: list of (image id, path).
        spec: an InputSpec.
        test_scales: factors, one preprocessed image each.
        batches: lists of indices into ``files`` (:func:`plan_batches`).
        workers: processes that load ahead; 0 loads in this process, one batch at a time.

    Raises (while it runs):
        LoaderError: a process died.
    """
    load = _Load(files, spec, test_scales)
    if not workers:
        for batch in batches:
            yield load(batch)
        return
    try:
        yield from ordered_map(load, batches, workers)
    except ProcessError as error:
        ids = [files[index][0] for index in error.task]
        raise LoaderError(
            'a loader process {} while it was at batch {} of {} (image{} {}); perhaps for want of memory'
            ' (fewer --workers or a smaller --batch-size need less)'.format(
                error.how,
                batches.index(error.task) + 1,
                len(batches),
                '' if len(ids) == 1 else 's',
                ', '.join(map(str, ids)),
            )
        ) from error


class _Load:
    """Makes a Batch of indices into the files."""

    def __init__(self, files, spec, test_scales):
        self.files = files
        self.spec = spec
        self.test_scales = test_scales
        self.process = os.getpid()

    def __call__(self, indices):
        if os.getpid() != self.process:
            # One thread each: the network has the other cores, and OpenCV's pool does not survive a fork.
            cv2.setNumThreads(0)
            self.process = os.getpid()
        return self._collate([self._load(*self.files[index]) for index in indices])

    def _load(self, image_id, path):
        """(id, (load ms, pre ms), [(array, geometry) per scale], damage or None, None), or (id, None, None,
        None, what is wrong)."""
        start = time.perf_counter()
        try:
            image, damage = read_image_checked(path)
            loaded = time.perf_counter()
            inputs = [preprocess(image, self.spec, scale) for scale in self.test_scales]
        except DataError as error:
            return image_id, None, None, None, str(error)
        except (MemoryError, cv2.error) as error:
            why = str(error).strip() or 'not enough memory'
            return image_id, None, None, None, f'cannot prepare the image file {path}: {why}'
        done = time.perf_counter()
        return image_id, (1000 * (loaded - start), 1000 * (done - loaded)), inputs, damage, None

    def _collate(self, items):
        good = [item for item in items if item[4] is None]
        scales = [self._group([item[2][scale] for item in good]) for scale in range(len(self.test_scales))]
        return Batch(
            [item[0] for item in good],
            [item[1] for item in good],
            scales,
            {item[0]: item[3] for item in good if item[3] is not None},
            {item[0]: item[4] for item in items if item[4] is not None},
        )

    def _group(self, inputs):
        by_shape = {}
        for position, (array, _) in enumerate(inputs):
            by_shape.setdefault(array.shape, []).append(position)
        groups = []
        for positions in by_shape.values():
            groups.append(
                Group(
                    positions,
                    np.stack([inputs[position][0] for position in positions]),
                    [inputs[position][1] for position in positions],
                )
            )
        return groups
