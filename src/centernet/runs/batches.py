"""Read and preprocess images in worker processes, while the network runs."""

import os
import time
from typing import Any, Callable, Dict, Hashable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

from ..coco import read_image
from ..detection import Geometry, InputSpec
from ..detection.normalization import normalise
from ..detection.preprocess import warp
from ..system.errors import DataError
from ..system.processes import ProcessError, ordered_map

#: keep_res: images of the same size are searched for in so many consecutive batches
_WINDOW = 16
#: keep_res: memory is shared for inputs of so many pixels on average; larger ones are copied
_KEPT_PIXELS = 1024 * 1024


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

    The images of a batch are **valid until the next batch is asked for**: with workers, they lie in memory
    that is used again.

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
        largest = max(map(len, batches), default=0)
        yield from ordered_map(load, batches, workers, _bytes(spec, test_scales) * largest)
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


def load_pictures(
    pictures: Sequence[Tuple[int, np.ndarray]], spec: InputSpec, test_scales: Sequence[float]
) -> Batch:
    """Return a batch of pictures, (id, uint8 [H, W, 3]), that are in memory."""
    batch = _BatchLoader(list(pictures), spec, test_scales)(list(range(len(pictures))))
    kept = dict(pictures)
    return batch._replace(pictures=[kept[image_id] for image_id in batch.ids])


def _bytes(spec: InputSpec, test_scales: Sequence[float]) -> int:
    """How much memory to share for each image of a batch."""
    if spec.keep_res:
        pixels = sum(int(_KEPT_PIXELS * scale * scale) for scale in test_scales)
    else:
        pixels = spec.height * spec.width * len(test_scales)
    return pixels * 3 * np.dtype(np.float32).itemsize


class _LoadedImage(NamedTuple):
    """A readable image, warped once per test scale: uint8 [input height, input width, 3]."""

    image_id: int
    times: LoadTimes
    size: Tuple[int, int]
    inputs: List[Tuple[np.ndarray, Geometry]]


class _FailedImage(NamedTuple):
    image_id: int
    reason: str


class _BatchLoader:
    """A function from indices of files to a Batch; it can be pickled."""

    def __init__(self, files: List[Tuple[int, Any]], spec: InputSpec, test_scales: Sequence[float]) -> None:
        self.files = files
        self.spec = spec
        self.test_scales = test_scales
        self.process = os.getpid()

    def __call__(self, indices: List[int], empty: Callable = np.empty) -> Batch:
        if os.getpid() != self.process:
            # One thread per worker: the network needs the other cores, and OpenCV's thread pool does not
            # survive a fork.
            cv2.setNumThreads(0)
            self.process = os.getpid()
        images = [self._load(*self.files[index]) for index in indices]
        failures = {image.image_id: image.reason for image in images if isinstance(image, _FailedImage)}
        loaded = [image for image in images if isinstance(image, _LoadedImage)]
        start = time.perf_counter()
        try:
            scales = [
                _group([image.inputs[scale] for image in loaded], self.spec, empty)
                for scale in range(len(self.test_scales))
            ]
        except (MemoryError, cv2.error) as error:
            why = f'cannot preprocess a batch of {len(loaded)}: {_reason(error)}'
            failures.update((image.image_id, why) for image in loaded)
            return Batch([], [], [], [[] for _ in self.test_scales], failures)
        each = 1000 * (time.perf_counter() - start) / max(1, len(loaded))
        return Batch(
            [image.image_id for image in loaded],
            [image.times._replace(pre=image.times.pre + each) for image in loaded],
            [image.size for image in loaded],
            scales,
            failures,
        )

    def _load(self, image_id: int, path: Union[str, np.ndarray]) -> Union[_LoadedImage, _FailedImage]:
        start = time.perf_counter()
        try:
            image = read_image(path) if isinstance(path, str) else path
            read = time.perf_counter()
            inputs = [warp(image, self.spec, scale) for scale in self.test_scales]
        except DataError as error:
            return _FailedImage(image_id, str(error))
        except (MemoryError, cv2.error) as error:
            return _FailedImage(image_id, f'cannot preprocess the image file {path}: {_reason(error)}')
        times = LoadTimes(1000 * (read - start), 1000 * (time.perf_counter() - read))
        return _LoadedImage(image_id, times, image.shape[:2], inputs)


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


def _chunks(items: List[int], size: int) -> List[List[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
