"""Detections in COCO's results format, and as arrays by category."""

import collections
import os
import tempfile
import weakref
from typing import IO, Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

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
        raise UserError(
            f'the detections of image {image_id} are not finite: check that the weights are intact and that'
            ' the precision is sufficient'
        )
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


class ClassDetections(NamedTuple):
    """The detections of a category, in the order in which they were added.

    ``image_ids``: int64 [n]. ``values``: [n, 5]: x, y, width, height, score; int32 hundredths, or float64 if
    not all of them are exact.
    """

    image_ids: np.ndarray
    values: np.ndarray

    def floats(self, rows: Any = slice(None), columns: Any = slice(None)) -> np.ndarray:
        """Return some of the values as float64."""
        values = self.values[rows, columns]
        return values / 100 if values.dtype == np.int32 else values


class ResultTable:
    """Collects detections in COCO's results format.

    Boxes and scores are rounded to two decimals (:func:`to_results`), so hundredths are exact. A detection
    takes 28 bytes, where its dict takes 500.

    Args:
        results: the first ones.
        folder: receives what exceeds two million detections, in a file without a name, which is gone when
            the process ends. Without a folder, all are kept in memory.
    """

    def __init__(self, results: Iterable[Dict[str, Any]] = (), folder: Optional[str] = None) -> None:
        self._count, self._folder = 0, folder
        self._file: Optional[IO[bytes]] = None
        self._pending: List[Dict[str, Any]] = []
        #: arrays with the fields of ClassDetections, or the places of such arrays in the file
        self._parts: Dict[int, List[Any]] = collections.defaultdict(list)
        self.add(results)

    def add(self, results: Iterable[Dict[str, Any]]) -> None:
        """Add detections."""
        self._pending.extend(results)
        if len(self._pending) >= _PENDING:
            self.store()

    def of_category(self, category_id: int) -> ClassDetections:
        """Return the detections of a category."""
        self.store()
        parts = [ClassDetections(np.zeros(0, np.int64), np.zeros((0, 5), np.int32))]
        for rows in map(self._read, self._parts[category_id]):
            parts.append(ClassDetections(rows['image_ids'], rows['values']))
        are_exact = all(part.values.dtype == np.int32 for part in parts)
        return ClassDetections(
            np.concatenate([part.image_ids for part in parts]),
            np.concatenate([part.values if are_exact else part.floats() for part in parts]),
        )

    def __len__(self) -> int:
        return self._count + len(self._pending)

    def store(self) -> None:
        """Move the added detections to arrays, which every process has that is forked from now on."""
        by_category = collections.defaultdict(list)
        for result in self._pending:
            by_category[result['category_id']].append(result)
        for category, results in by_category.items():
            values = np.array([result['bbox'] + [result['score']] for result in results], np.float64)
            hundredths = np.rint(values * 100)
            # a quotient is rounded correctly, and so is a number that is read from text
            if (np.abs(hundredths) < 2**31).all() and (hundredths / 100 == values).all():
                values = hundredths.astype(np.int32)
            rows = np.empty(len(results), [('image_ids', np.int64), ('values', values.dtype, 5)])
            rows['image_ids'], rows['values'] = [result['image_id'] for result in results], values
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
        return rows.dtype, rows.nbytes, self._file.tell() - rows.nbytes

    def _read(self, kept: Any) -> np.ndarray:
        if isinstance(kept, np.ndarray):
            return kept
        kind, size, start = kept
        # at a place of its own: forked processes share the file's
        return np.frombuffer(os.pread(self._file.fileno(), size, start), kind)
