"""Read and preprocess images in worker processes, while the network runs."""

import os
import time
from typing import Dict, Hashable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

from ..coco import read_image
from ..detection import Geometry, InputSpec, preprocess
from ..errors import DataError
from ..processes import ProcessError, ordered_map

#: keep_res: images of the same size are searched for in so many consecutive batches
_WINDOW = 16


class Group(NamedTuple):
    """Images of a batch that have the same input size at one test scale.

    ``positions``: their positions in the batch. ``images``: float32 [n, 3, H, W]. ``geometries``: one per
    image.
    """

    positions: List[int]
    images: np.ndarray
    geometries: List[Geometry]


class LoadTimes(NamedTuple):
    """Milliseconds spent on one image: reading and decoding, and preprocessing."""

    load: float
    pre: float


class Batch(NamedTuple):
    """A loaded batch.

    ``ids`` and ``times``: of the readable images. ``scales``: the groups of each test scale. ``failures``:
    image id -> reason for the images that could not be read.
    """

    ids: List[int]
    times: List[LoadTimes]
    scales: List[List[Group]]
    failures: Dict[int, str]


class LoaderError(Exception):
    """A loader process died; the message says how, and at which batch."""


def plan_batches(ids: Sequence[int], sizes: Optional[Sequence[Hashable]], batch_size: int) -> List[List[int]]:
    """Divide images into batches.

    Args:
        ids: image ids.
        sizes: the input size of every image, or None if all are equal. Images of the same size are grouped
            within a window of a few batches, so the last batch of each size may be short.
        batch_size: the maximum number of images per batch.

    Returns:
        Lists of indices into ``ids``.
    """
    if sizes is None or batch_size == 1:
        return _chunks(list(range(len(ids))), batch_size)
    batches = []
    for window in _chunks(list(range(len(ids))), _WINDOW * batch_size):
        by_size = {}
        for index in window:
            by_size.setdefault(sizes[index], []).append(index)
        for indices in by_size.values():
            batches += _chunks(indices, batch_size)
    return batches


def make_loader(
    files: List[Tuple[int, str]],
    spec: InputSpec,
    test_scales: Sequence[float],
    batches: List[List[int]],
    workers: int,
) -> Iterator[Batch]:
    """Iterate over loaded batches. Close the iterator if you do not exhaust it.

    Args:
        files: list of (image id, path).
        spec: the network's input.
        test_scales: scale factors; every image is preprocessed once for each.
        batches: lists of indices into ``files``, from :func:`plan_batches`.
        workers: number of processes that load ahead; 0 loads one batch at a time in this process.

    Raises:
        LoaderError: a worker process died.
    """
    load = _BatchLoader(files, spec, test_scales)
    if not workers:
        for batch in batches:
            yield load(batch)
        return
    try:
        yield from ordered_map(load, batches, workers)
    except ProcessError as error:
        ids = [files[index][0] for index in error.task]
        raise LoaderError(
            'a loader process {} at batch {} of {} (image{} {}), perhaps because memory ran out; fewer'
            ' --workers or a smaller --batch-size need less'.format(
                error.how,
                batches.index(error.task) + 1,
                len(batches),
                '' if len(ids) == 1 else 's',
                ', '.join(map(str, ids)),
            )
        ) from error


class _LoadedImage(NamedTuple):
    """A readable image, preprocessed once per test scale."""

    image_id: int
    times: LoadTimes
    inputs: List[Tuple[np.ndarray, Geometry]]


class _FailedImage(NamedTuple):
    image_id: int
    reason: str


class _BatchLoader:
    """A function from indices of files to a Batch; it can be pickled."""

    def __init__(self, files: List[Tuple[int, str]], spec: InputSpec, test_scales: Sequence[float]) -> None:
        self.files = files
        self.spec = spec
        self.test_scales = test_scales
        self.process = os.getpid()

    def __call__(self, indices: List[int]) -> Batch:
        if os.getpid() != self.process:
            # One thread per worker: the network needs the other cores, and OpenCV's thread pool does not
            # survive a fork.
            cv2.setNumThreads(0)
            self.process = os.getpid()
        images = [self._load(*self.files[index]) for index in indices]
        loaded = [image for image in images if isinstance(image, _LoadedImage)]
        return Batch(
            [image.image_id for image in loaded],
            [image.times for image in loaded],
            [_group([image.inputs[scale] for image in loaded]) for scale in range(len(self.test_scales))],
            {image.image_id: image.reason for image in images if isinstance(image, _FailedImage)},
        )

    def _load(self, image_id: int, path: str) -> Union[_LoadedImage, _FailedImage]:
        start = time.perf_counter()
        try:
            image = read_image(path)
            read = time.perf_counter()
            inputs = [preprocess(image, self.spec, scale) for scale in self.test_scales]
        except DataError as error:
            return _FailedImage(image_id, str(error))
        except (MemoryError, cv2.error) as error:
            reason = str(error).strip() or 'not enough memory'
            return _FailedImage(image_id, f'cannot preprocess the image file {path}: {reason}')
        times = LoadTimes(1000 * (read - start), 1000 * (time.perf_counter() - read))
        return _LoadedImage(image_id, times, inputs)


def _group(inputs: List[Tuple[np.ndarray, Geometry]]) -> List[Group]:
    """Stack the inputs that have the same shape."""
    by_shape = {}
    for position, (array, _) in enumerate(inputs):
        by_shape.setdefault(array.shape, []).append(position)
    return [
        Group(
            positions,
            np.stack([inputs[position][0] for position in positions]),
            [inputs[position][1] for position in positions],
        )
        for positions in by_shape.values()
    ]


def _chunks(items: List[int], size: int) -> List[List[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
