"""Images read and preprocessed ahead, in worker processes, while the network runs."""

import signal
import time
from typing import Dict, List, NamedTuple, Tuple

import cv2
import numpy as np
from torch.utils.data import DataLoader, Dataset

from ..coco import read_image
from ..detection import Geometry, preprocess
from ..errors import DataError

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
    """What the loader hands over: of the readable images the ids, ``load`` and ``pre`` times (ms) and, per test scale, groups.

    ``failures``: id -> what is wrong with the image, for those that could not be read.
    """

    ids: List[int]
    times: List[Tuple[float, float]]
    scales: List[List[Group]]
    failures: Dict[int, str]


def plan_batches(ids, sizes, batch_size):
    """Which images go together, as lists of indices into ``ids``.

    Args:
        ids: image ids.
        sizes: the input size of every image, or None when all have the same. Images of one size are put together, looking at most
            a few batches ahead; the groups are as long as they can be there, so the last of each may be short.
        batch_size: at most so many in a batch.
    """
    if sizes is None or batch_size == 1:
        return [list(range(start, min(start + batch_size, len(ids)))) for start in range(0, len(ids), batch_size)]
    batches = []
    for start in range(0, len(ids), _WINDOW * batch_size):
        by_size = {}
        for index in range(start, min(start + _WINDOW * batch_size, len(ids))):
            by_size.setdefault(sizes[index], []).append(index)
        for indices in by_size.values():
            batches += [indices[i:i + batch_size] for i in range(0, len(indices), batch_size)]
    return batches


def make_loader(files, spec, test_scales, batches, workers):
    """An iterable of :class:`Batch`.

    Args:
        files: list of (image id, path).
        spec: an InputSpec.
        test_scales: factors, one preprocessed image each.
        batches: lists of indices into ``files`` (:func:`plan_batches`).
        workers: processes that load ahead; 0 loads in this process, one batch at a time.

    Workers hand arrays over through pipes (numpy's arrays, not torch's tensors, which would go through shared memory: a container
    has 64 MB of that unless told otherwise, and a tensor that does not fit kills the worker with a bus error).
    """
    return DataLoader(_Images(files, spec, test_scales), batch_sampler=batches, num_workers=workers,
                      collate_fn=_Collate(len(test_scales)), worker_init_fn=_start_worker)


class _Images(Dataset):
    def __init__(self, files, spec, test_scales):
        self.files = files
        self.spec = spec
        self.test_scales = test_scales

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        """(id, (load ms, pre ms), [(array, geometry) per scale], None), or (id, None, None, what is wrong)."""
        image_id, path = self.files[index]
        start = time.perf_counter()
        try:
            image = read_image(path)
            loaded = time.perf_counter()
            inputs = [preprocess(image, self.spec, scale) for scale in self.test_scales]
        except DataError as error:
            return image_id, None, None, str(error)
        done = time.perf_counter()
        return image_id, (1000 * (loaded - start), 1000 * (done - loaded)), inputs, None


class _Collate:
    """Makes a Batch of what _Images gives."""

    def __init__(self, scales):
        self.scales = scales

    def __call__(self, items):
        good = [item for item in items if item[3] is None]
        scales = [self._group([inputs[scale] for _, _, inputs, _ in good]) for scale in range(self.scales)]
        return Batch([item[0] for item in good], [item[1] for item in good], scales,
                     {item[0]: item[3] for item in items if item[3] is not None})

    def _group(self, inputs):
        by_shape = {}
        for position, (array, _) in enumerate(inputs):
            by_shape.setdefault(array.shape, []).append(position)
        groups = []
        for positions in by_shape.values():
            groups.append(Group(positions, np.stack([inputs[position][0] for position in positions]),
                                [inputs[position][1] for position in positions]))
        return groups


def _start_worker(_):
    # Ctrl-C reaches every process of the terminal's group; the parent alone decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # One thread each: the network has the other cores, and OpenCV's pool does not survive a fork.
    cv2.setNumThreads(0)
