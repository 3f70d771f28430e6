"""Detections by category, as arrays."""

import collections
import tempfile
from typing import IO, Any, Dict, Iterable, List, NamedTuple, Optional

import numpy as np

from ..errors import OutputError

#: so many detections are collected before they become arrays
_PENDING = 100000
#: if there are more detections, they are kept in files
_MOST_IN_MEMORY = 2000000
#: of such a file
_ROW = np.dtype([('image_id', np.int64), ('values', np.int32, 5)])


class ClassDetections(NamedTuple):
    """The detections of a category, in the order in which they were added.

    ``image_ids``: int64 [n]. ``values``: [n, 5]: x, y, width, height, score; int32 hundredths, or float64 if
    not all of them are exact.
    """

    image_ids: np.ndarray
    values: np.ndarray

    def take(self, chosen: np.ndarray) -> 'ClassDetections':
        """Return some of the detections."""
        return ClassDetections(self.image_ids[chosen], self.values[chosen])

    def boxes(self, chosen: Any = slice(None)) -> np.ndarray:
        """float64 [m, 4]: x, y, width, height of some."""
        return _expanded(self.values[chosen, :4])

    def scores(self, chosen: Any = slice(None)) -> np.ndarray:
        """float64 [m]: of some."""
        return _expanded(self.values[chosen, 4])


class ResultTable:
    """Collects detections in COCO's results format.

    Boxes and scores are rounded to two decimals (:func:`.to_results`), so hundredths are exact. A detection
    takes 28 bytes, where its dict takes 500; and many detections are kept in temporary files, until
    :meth:`close`.

    Args:
        folder: of the temporary files; None keeps all detections in memory.
    """

    def __init__(self, folder: Optional[str] = None) -> None:
        self._folder = folder
        self._count = 0
        self._pending: List[Dict[str, Any]] = []
        self._parts: Dict[int, List[ClassDetections]] = collections.defaultdict(list)
        self._files: Dict[int, IO[bytes]] = {}

    @classmethod
    def of(cls, results: Iterable[Dict[str, Any]]) -> 'ResultTable':
        """Return a table of detections."""
        table = cls()
        table.add(results)
        return table

    def add(self, results: Iterable[Dict[str, Any]]) -> None:
        """Add detections.

        Raises:
            OutputError: a temporary file cannot be written.
        """
        self._pending.extend(results)
        if len(self._pending) >= _PENDING:
            self._store()

    def of_category(self, category_id: int) -> ClassDetections:
        """Return the detections of a category."""
        self._store()
        parts = self._parts.get(category_id, [])
        file = self._files.get(category_id)
        if file is not None:
            rows = np.memmap(file, _ROW, mode='r')
            parts = [ClassDetections(rows['image_id'], rows['values']), *parts]
        if len(parts) > 1:
            if any(part.values.dtype != np.int32 for part in parts):
                parts = [part._replace(values=_expanded(part.values)) for part in parts]
            parts = [ClassDetections(*map(np.concatenate, zip(*parts)))]
        return parts[0] if parts else ClassDetections(np.zeros(0, np.int64), np.zeros((0, 5), np.int32))

    def close(self) -> None:
        """Close the temporary files. The detections that were returned stay valid."""
        for file in self._files.values():
            file.close()

    def __len__(self) -> int:
        return self._count + len(self._pending)

    def _store(self) -> None:
        if not self._pending:
            return
        image_ids = np.array([result['image_id'] for result in self._pending], np.int64)
        categories = np.array([result['category_id'] for result in self._pending], np.int64)
        values = np.array([result['bbox'] + [result['score']] for result in self._pending], np.float64)
        self._count += len(self._pending)
        self._pending = []
        order = np.argsort(categories, kind='stable')
        starts = np.flatnonzero(np.diff(categories[order], prepend=categories[order[0]] - 1))
        for chosen in np.split(order, starts[1:]):
            part = ClassDetections(image_ids[chosen], _compact(values[chosen]))
            self._parts[int(categories[chosen[0]])].append(part)
        if self._folder is not None and self._count > _MOST_IN_MEMORY:
            self._write(self._folder)

    def _write(self, folder: str) -> None:
        """Move the parts to files, one for each category."""
        try:
            for category, parts in self._parts.items():
                if any(part.values.dtype != np.int32 for part in parts):
                    continue
                if category not in self._files:
                    self._files[category] = tempfile.TemporaryFile(dir=folder)
                for part in parts:
                    rows = np.empty(len(part.image_ids), _ROW)
                    rows['image_id'], rows['values'] = part
                    self._files[category].write(rows.tobytes())
                self._files[category].flush()
                parts.clear()
        except OSError as error:
            raise OutputError(f'cannot write a temporary file in {folder}: {error.strerror}') from error


def _compact(values: np.ndarray) -> np.ndarray:
    hundredths = np.rint(values * 100)
    # a quotient is rounded correctly, and so is a number that is read from text
    if (np.abs(hundredths) < 2**31).all() and (hundredths / 100 == values).all():
        return hundredths.astype(np.int32)
    return values


def _expanded(values: np.ndarray) -> np.ndarray:
    return values / 100 if values.dtype == np.int32 else values


def is_among(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """bool, of the shape of ``values``: whether they are in ``wanted``, which is sorted."""
    if not len(wanted):
        return np.zeros(values.shape, bool)
    places = np.minimum(np.searchsorted(wanted, values), len(wanted) - 1)
    return wanted[places] == values
