"""Detections in COCO's results format, and as arrays by category."""

import collections
import os
import tempfile
import weakref
from typing import IO, Any, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np

from ..system.errors import UserError

#: so many detections are collected before they become arrays
_PENDING = 100000
#: so many detections, 56 MB, stay in memory if there is a folder for more; val2017 has a quarter of them
_IN_MEMORY = 2000000


def to_results(
    image_id: int, detections: np.ndarray, channels: Sequence[Optional[Tuple[int, str]]]
) -> List[Dict[str, Any]]:
    """Convert the detections of one image to COCO's results format.

    Args:
        image_id: the image's id.
        detections: float32 [m, 6]: x1, y1, x2, y2 in image pixels, score, class index.
        channels: (category id, name) by class index, None where a class has no category: its detections
            are dropped.

    Returns:
        Up to m dicts of image_id, category_id, bbox [x, y, width, height] and score. Width and height are
        computed in float32, then boxes and scores are rounded to two decimals, as upstream CenterNet does:
        the published metrics were computed from such values.

    Raises:
        UserError: a box or score is not finite, which damaged weights cause.
    """
    detections = np.asarray(detections, np.float32).reshape(-1, 6)
    if not np.isfinite(detections).all():
        raise UserError(f'the detections of image {image_id} are not finite: are the weights intact?')
    boxes = np.concatenate([detections[:, :2], detections[:, 2:4] - detections[:, :2]], axis=1)
    # Python's round gives the same digits as upstream's float('{:.2f}'.format(x)); numpy's does not always.
    return [
        {
            'image_id': int(image_id),
            'category_id': int(channels[class_index][0]),
            'bbox': [round(value, 2) for value in box],
            'score': round(score, 2),
        }
        for box, score, class_index in zip(
            boxes.tolist(), detections[:, 4].tolist(), detections[:, 5].astype(int).tolist()
        )
        if channels[class_index] is not None
    ]


#: a detection of a category; values: x, y, width, height, score in hundredths
_ROW = np.dtype([('image_ids', np.int64), ('values', np.int32, 5)])


class ResultTable:
    """Collects detections in COCO's results format.

    Boxes and scores are rounded to two decimals (:func:`to_results`), so they are kept as hundredths: a
    quotient is rounded as a number that is read from text. A detection takes 28 bytes, where its dict takes
    500.

    Args:
        results: the first ones.
        folder: receives what exceeds two million detections, in a file without a name, which is gone when
            the process ends. Without a folder, all are kept in memory.
    """

    def __init__(self, results: Iterable[Dict[str, Any]] = (), folder: Optional[str] = None) -> None:
        self._count, self._folder = 0, folder
        self._file: Optional[IO[bytes]] = None
        self._pending: List[Dict[str, Any]] = []
        #: by category: arrays of _ROW, or the places of such arrays in the file
        self._parts: Dict[int, List[Any]] = collections.defaultdict(list)
        self.add(results)

    def add(self, results: Iterable[Dict[str, Any]]) -> None:
        """Add detections."""
        self._pending.extend(results)
        if len(self._pending) >= _PENDING:
            self.store()

    def of_category(self, category_id: int) -> np.ndarray:
        """Return the detections of a category, in the order in which they were added.

        Returns:
            An array [n] with the fields ``image_ids``, int64, and ``values``, int32 [n, 5]: x, y, width,
            height and score, in hundredths.
        """
        self.store()
        return np.concatenate([np.empty(0, _ROW), *map(self._read, self._parts[category_id])])

    def __len__(self) -> int:
        return self._count + len(self._pending)

    def store(self) -> None:
        """Move the added detections to arrays, which every process has that is forked from now on."""
        by_category = collections.defaultdict(list)
        for result in self._pending:
            by_category[result['category_id']].append(result)
        for category, results in by_category.items():
            values = np.array([result['bbox'] + [result['score']] for result in results], np.float64)
            rows = np.empty(len(results), _ROW)
            rows['image_ids'] = [result['image_id'] for result in results]
            rows['values'] = np.rint(values * 100).clip(-(2**31), 2**31 - 1)
            self._parts[category].append(self._keep(rows))
        self._count += len(self._pending)
        self._pending = []

    def _keep(self, rows: np.ndarray) -> Any:
        """Return the rows, or their place in the file once there are many; :meth:`_read` is the inverse."""
        if self._folder is None or self._count < _IN_MEMORY:
            return rows
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)
            weakref.finalize(self, self._file.close)
        self._file.write(rows.tobytes())
        self._file.flush()
        return rows.nbytes, self._file.tell() - rows.nbytes

    def _read(self, kept: Any) -> np.ndarray:
        if isinstance(kept, np.ndarray):
            return kept
        size, start = kept
        # at a place of its own: forked processes share the file's
        return np.frombuffer(os.pread(self._file.fileno(), size, start), _ROW)
