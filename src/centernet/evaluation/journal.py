"""The journal of a run: its finished images, so that an interrupted run can be resumed.

A text file of JSON lines. The first line identifies the run (a fingerprint of weights, protocol and data);
every other line holds a finished image with its detections and times. Lines are only appended, one write per
batch, so after ``kill -9`` at most the last line is incomplete, and its image is evaluated again. Detections
stay in the file until the run ends: in memory a hundred of them take 40 KB.
"""

import contextlib
import fcntl
import json
import os
from typing import Any, Dict, List, NamedTuple, Tuple

from ..errors import OptionError, OutputError
from ..files import display_path
from .timings import ImageTimes

JOURNAL_NAME = 'journal.jsonl'
_VERSION = 1


class Record(NamedTuple):
    """A finished image: its detections in COCO's results format, and its times."""

    image_id: int
    results: List[Dict[str, Any]]
    times: ImageTimes


class _Line(NamedTuple):
    """The place of a line in the file, in bytes, without its newline."""

    offset: int
    length: int


class Journal:
    """A context manager for the journal file in ``folder``.

    ``finished`` maps the ids of the finished images to their lines; :meth:`read` returns one.

    Args:
        folder: the output folder; it exists.
        fingerprint: JSON-compatible values that must be equal for a run to be resumed.
        resume: continue an existing journal, if there is one. Otherwise it is replaced.
        derived: names of files in the folder that are made from the journal. They are removed, so that they
            are never next to a journal that they were not made from.

    Raises:
        OptionError: the journal belongs to a run with a different fingerprint; the message says what differs.
        OutputError: the file cannot be written, is damaged, or another run is writing to it.
    """

    def __init__(
        self, folder: str, fingerprint: Dict[str, Any], resume: bool, derived: Tuple[str, ...] = ()
    ) -> None:
        self.path = os.path.join(folder, JOURNAL_NAME)
        self.finished: Dict[int, _Line] = {}
        self._shown_path = display_path(self.path)
        self._end = 0
        fingerprint = json.loads(json.dumps(fingerprint))  # as read from the file: tuples become lists
        try:
            self._file = open(self.path, 'a+b', buffering=0)
            try:
                self._lock()
                resumed = resume and self._load(fingerprint)
                for name in derived:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(folder, name))
                if not resumed:
                    self._file.truncate(0)
                    self._append([{'journal': _VERSION, 'fingerprint': fingerprint}])
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise OutputError(f'cannot write {self._shown_path}: {error.strerror}') from error

    def __enter__(self) -> 'Journal':
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def add(self, records: List[Record]) -> None:
        """Append finished images with a single write.

        Raises:
            OutputError: the file cannot be written.
        """
        try:
            lines = self._append([_to_entry(record) for record in records])
        except OSError as error:
            raise OutputError(f'cannot write {self._shown_path}: {error.strerror}') from error
        self.finished.update((record.image_id, line) for record, line in zip(records, lines))

    def read(self, image_id: int) -> Record:
        """Return a finished image.

        Raises:
            OutputError: the file cannot be read, or something else has been written into it.
        """
        line = self.finished[image_id]
        try:
            data = os.pread(self._file.fileno(), line.length, line.offset)
            record = _to_record(json.loads(data.decode('utf-8')))
        except OSError as error:
            raise OutputError(f'cannot read {self._shown_path}: {error.strerror}') from error
        except (ValueError, KeyError, TypeError):
            record = None
        if record is None or record.image_id != image_id:
            raise OutputError(
                f'{self._shown_path} was changed during the run: run without --resume to start again'
            )
        return record

    def check_exists(self) -> None:
        """Raise OutputError if the file was removed during the run, which no write reports."""
        if not os.path.isfile(self.path):
            raise OutputError(
                f'{self._shown_path} is missing: the output folder was removed or emptied during the run'
            )

    def _lock(self) -> None:
        # A lock of the process, not of the open file: worker processes that outlive a killed parent must not
        # hold it.
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f'another evaluation is writing to {self._shown_path}: choose another output folder'
            ) from None
        except OSError:
            pass  # a file system without locks

    def _load(self, fingerprint: Dict[str, Any]) -> bool:
        """Read the file; return False if it is empty."""
        self._file.seek(0)
        data = self._file.read()
        end = data.rfind(b'\n') + 1  # what follows is an incomplete line
        lines = data[:end].split(b'\n')[:-1]
        found, finished, offset = None, {}, 0
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line.decode('utf-8'))
                if number == 1:
                    found = entry['fingerprint']
                else:
                    finished[_to_record(entry).image_id] = _Line(offset, len(line))
                offset += len(line) + 1
            except (ValueError, KeyError, TypeError):
                if number == len(lines) and number > 1:  # incomplete, and overwritten at its end
                    end -= len(line) + 1
                    break
                raise OutputError(
                    f'{self._shown_path} is damaged in line {number}: run without --resume to start again'
                ) from None
        if found is None:
            return False
        differences = _differences(found, fingerprint)
        if differences:
            raise OptionError(
                'cannot resume: {} belongs to a different run ({}); use the same settings, or omit --resume'
                ' to start again'.format(self._shown_path, '; '.join(differences))
            )
        self._file.truncate(end)
        self._end = end
        self.finished = finished
        return True

    def _append(self, entries: List[Dict[str, Any]]) -> List[_Line]:
        data = [
            json.dumps(entry, separators=(',', ':'), allow_nan=False).encode('utf-8') + b'\n'
            for entry in entries
        ]
        rest = b''.join(data)
        while rest:  # a raw file may write only a part
            rest = rest[self._file.write(rest) :]
        lines = []
        for line in data:
            lines.append(_Line(self._end, len(line) - 1))
            self._end += len(line)
        return lines


def _to_entry(record: Record) -> Dict[str, Any]:
    times = [value if isinstance(value, bool) else round(value, 4) for value in record.times]
    return {
        'image_id': record.image_id,
        'times': times,
        'detections': [[item['category_id']] + item['bbox'] + [item['score']] for item in record.results],
    }


def _to_record(entry: Dict[str, Any]) -> Record:
    image_id = entry['image_id']
    results = [
        {'image_id': image_id, 'category_id': row[0], 'bbox': row[1:5], 'score': row[5]}
        for row in entry['detections']
    ]
    return Record(image_id, results, ImageTimes(*entry['times']))


def _differences(old: Dict[str, Any], new: Dict[str, Any], prefix: str = '') -> List[str]:
    """Return ``name was old, is now new`` for every value that differs between two nested dicts."""
    found = []
    for key in sorted(set(old) | set(new)):
        name = prefix + key
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += _differences(before, now, name + '.')
        elif before != now:
            found.append(f'{name} was {json.dumps(before)}, is now {json.dumps(now)}')
    return found
