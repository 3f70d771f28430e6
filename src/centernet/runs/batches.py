"""Read and preprocess images in worker processes, while the network runs."""

import os
import time
from typing import Any, Callable, Dict, Hashable, Iterator, List, NamedTuple, Sequence, Tuple

import cv2
import numpy as np

from ..coco import read_image
from ..detection import Geometry, InputSpec
from ..detection.preprocess import normalise, warp
from ..system.errors import DataError, Interrupted
from ..system.processes import ProcessError, ordered_map

#: keep_res: images of the same size are searched for in so many consecutive batches
_WINDOW = 16
#: keep_res: memory is shared for inputs of so many pixels on average; larger ones are copied
_KEPT_PIXELS = 1024 * 1024
#: an image: its id, and its path or its pixels
File = Tuple[int, Any]


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

    ``ids``, ``times`` and ``sizes`` (height, width): of the readable images. ``scales``: the groups of each
    test scale. ``failures``: image id -> reason for the images that could not be read. ``pictures``: uint8
    [H, W, 3], BGR, where the images are frames of a video.
    """

    ids: List[int]
    times: List[LoadTimes]
    sizes: List[Tuple[int, int]]
    scales: List[List[Group]]
    failures: Dict[int, str]
    pictures: Sequence[np.ndarray] = ()


def plan_batches(
    files: Sequence[File], batch_size: int, size_of: Callable[[int], Hashable] = lambda image_id: None
) -> List[List[File]]:
    """Divide images into batches.

    Args:
        files: the images.
        batch_size: the maximum number of images per batch.
        size_of: image id -> the input size. Images of the same size are grouped within a window of a few
            batches, so the last batch of each size may be short.
    """
    batches = []
    for window in _chunks(files, _WINDOW * batch_size):
        by_size: Dict[Hashable, List[File]] = {}
        for file in window:
            by_size.setdefault(size_of(file[0]), []).append(file)
        for same in by_size.values():
            batches += _chunks(same, batch_size)
    return batches


def make_loader(
    batches: List[List[File]], spec: InputSpec, test_scales: Sequence[float], workers: int
) -> Iterator[Batch]:
    """Iterate over loaded batches. Close the iterator if you do not exhaust it.

    The images of a batch are **valid until the next batch is asked for**: with workers, they lie in memory
    that is used again.

    Args:
        batches: from :func:`plan_batches`.
        spec: the network's input.
        test_scales: scale factors; every image is preprocessed once for each.
        workers: number of processes that load ahead; 0 loads one batch at a time in this process.

    Raises:
        Interrupted: a worker process died.
    """
    load = _BatchLoader(spec, test_scales)
    if not workers:
        yield from map(load, batches)
        return
    try:
        largest = max(map(len, batches), default=0)
        yield from ordered_map(load, batches, workers, _bytes(spec, test_scales) * largest)
    except ProcessError as error:
        ids = ', '.join(str(image_id) for image_id, _ in error.task)
        raise Interrupted(
            f'a loader process {error.how} (images {ids}): try fewer --workers or a smaller --batch-size'
        ) from error


def load_pictures(
    pictures: Sequence[Tuple[int, np.ndarray]], spec: InputSpec, test_scales: Sequence[float]
) -> Batch:
    """Return a batch of pictures, (id, uint8 [H, W, 3]), that are in memory."""
    batch = _BatchLoader(spec, test_scales)(pictures)
    kept = dict(pictures)
    return batch._replace(pictures=[kept[image_id] for image_id in batch.ids])


def _bytes(spec: InputSpec, test_scales: Sequence[float]) -> int:
    """How much memory to share for each image of a batch."""
    if spec.keep_res:
        pixels = sum(int(_KEPT_PIXELS * scale * scale) for scale in test_scales)
    else:
        pixels = spec.height * spec.width * len(test_scales)
    return pixels * 3 * np.dtype(np.float32).itemsize


class _BatchLoader:
    """A function from files to a Batch; it can be pickled."""

    def __init__(self, spec: InputSpec, test_scales: Sequence[float]) -> None:
        self.spec, self.test_scales = spec, test_scales
        self.process = os.getpid()

    def __call__(self, files: Sequence[File], empty: Callable = np.empty) -> Batch:
        if os.getpid() != self.process:
            # One thread per worker: the network needs the other cores, and OpenCV's thread pool does not
            # survive a fork.
            cv2.setNumThreads(0)
            self.process = os.getpid()
        ids, times, sizes, loaded = [], [], [], []
        failures: Dict[int, str] = {}
        for image_id, path in files:
            start = time.perf_counter()
            try:
                image = read_image(path) if isinstance(path, str) else path
                read = time.perf_counter()
                loaded.append([warp(image, self.spec, scale) for scale in self.test_scales])
                times.append(LoadTimes(1000 * (read - start), 1000 * (time.perf_counter() - read)))
                sizes.append(image.shape[:2])
                ids.append(image_id)
            except DataError as error:
                failures[image_id] = str(error)
            except (MemoryError, cv2.error) as error:
                failures[image_id] = f'cannot preprocess the image file {path}: {_reason(error)}'
        start = time.perf_counter()
        try:
            scales = [_group(list(inputs), self.spec, empty) for inputs in zip(*loaded)]
        except (MemoryError, cv2.error) as error:
            why = f'cannot preprocess a batch of {len(loaded)}: {_reason(error)}'
            failures.update(dict.fromkeys(ids, why))
            ids, times, sizes, scales = [], [], [], []
        each = 1000 * (time.perf_counter() - start) / max(1, len(ids))
        times = [item._replace(pre=item.pre + each) for item in times]
        return Batch(ids, times, sizes, scales, failures)


def _reason(error: Exception) -> str:
    return str(error).strip() or 'not enough memory'


def _group(inputs: List[Tuple[np.ndarray, Geometry]], spec: InputSpec, empty: Callable) -> List[Group]:
    """Normalise the inputs, those of the same size into one array."""
    by_shape = {}
    for position, (warped, _) in enumerate(inputs):
        by_shape.setdefault(warped.shape, []).append(position)
    groups = []
    for (height, width, channels), positions in by_shape.items():
        images = empty((len(positions), channels, height, width), np.float32)
        for planes, position in zip(images, positions):
            normalise(inputs[position][0], spec.normalization, planes)
        groups.append(Group(positions, images, [inputs[position][1] for position in positions]))
    return groups


def _chunks(items: Sequence[Any], size: int) -> List[List[Any]]:
    return [list(items[start : start + size]) for start in range(0, len(items), size)]
