"""The journal of a run: what is finished, so that an interrupted run can go on.

A text file of JSON lines. The first says what the run is (a fingerprint of weights, protocol and data), each
other one holds a finished image with its detections and times. Lines are only ever added, one write per
batch, so after a ``kill -9`` at most the last line is torn; that image is evaluated again. Where the file
vanishes, because somebody removed the folder, it is written anew with all that it held (the system keeps the
content of an open file). What is finished is kept in the file alone: in memory a hundred detections take 40
KB.
"""

import contextlib
import fcntl
import json
import logging
import os
import shutil
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..errors import OptionError, OutputError
from .timings import ImageTimes

JOURNAL_NAME = 'journal.jsonl'
_VERSION = 1
_log = logging.getLogger(__name__)


class Record(NamedTuple):
    """A finished image: its detections in COCO's results format, what it cost, and its damage where it has
    one."""

    image_id: int
    results: List[Dict[str, Any]]
    times: ImageTimes
    damage: Optional[str] = None


class Journal:
    """A context manager around the journal file in ``folder``; ``finished`` has the ids of its images,
    :meth:`record` reads one.

    Args:
        folder: the output folder; it exists.
        fingerprint: dict of plain values that must be the same for two runs to be one.
        resume: take over what the journal has. Where there is none yet, the run starts at its beginning. When
            not resuming, an old journal is replaced.
        made_of_it: names of files in the folder that are made of the journal. Those of an earlier run are
            removed, so that none is ever beside a journal that it is not made of.

    Raises:
        OptionError: the journal is of a run with another fingerprint; the message says what differs.
        OutputError: the file cannot be written, is damaged, or another run is writing to it.
    """

    def __init__(
        self, folder: str, fingerprint: Dict[str, Any], resume: bool, made_of_it: Tuple[str, ...] = ()
    ) -> None:
        self.path = os.path.join(folder, JOURNAL_NAME)
        self.finished = {}  # image id -> (offset, length) of its line
        self._end = 0
        fingerprint = json.loads(json.dumps(fingerprint))  # as it comes back from the file
        try:
            self._file = open(self.path, 'a+b', buffering=0)
            try:
                self._lock()
                taken_over = resume and self._take_over(fingerprint)
                for name in made_of_it:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(folder, name))
                if not taken_over:
                    self._file.truncate(0)
                    self._write([{'journal': _VERSION, 'fingerprint': fingerprint}])
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise OutputError(f'cannot write {self.path}: {error.strerror}') from error

    def __enter__(self) -> 'Journal':
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def add(self, records: List[Record]) -> None:
        """Append finished images, all of them in one write."""
        try:
            places = self._write([_to_line(record) for record in records])
        except OSError as error:
            raise OutputError(f'cannot write {self.path}: {error.strerror}') from error
        self.finished.update((record.image_id, place) for record, place in zip(records, places))
        self.keep()

    def record(self, image_id: int) -> Record:
        """A finished image.

        Raises:
            OutputError: the file cannot be read, or something else has been written into it.
        """
        offset, length = self.finished[image_id]
        try:
            record = _from_line(json.loads(os.pread(self._file.fileno(), length, offset).decode('utf-8')))
        except OSError as error:
            raise OutputError(f'cannot read {self.path}: {error.strerror}') from error
        except (ValueError, KeyError, TypeError):
            record = None
        if record is None or record.image_id != image_id:
            raise OutputError(f'{self.path} was changed during the run: run without --resume to start again')
        return record

    def keep(self) -> None:
        """Write the file anew where it has vanished, and its folder with it.

        Raises:
            OutputError: it cannot be written, or another file has taken its place.
        """
        try:
            there, ours = os.stat(self.path), os.fstat(self._file.fileno())
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
            raise OutputError(
                f'{self.path} was replaced during the run: is another evaluation writing there? Choose'
                ' another output folder'
            )
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise OutputError(f'cannot write {self.path}: {error.strerror}') from error
        _log.warning(
            'warning: %s has vanished during the run; it is written anew, with all that it held', self.path
        )
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            with self._file as old:
                self._file = open(
                    os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666),
                    'a+b',
                    buffering=0,
                )
                self._lock()
                old.seek(0)
                shutil.copyfileobj(old, _Whole(self._file))
        except OSError as error:
            raise OutputError(
                f'{self.path} has vanished during the run, and cannot be written anew: {error.strerror}'
            ) from error

    def _lock(self):
        # A lock of the process, not of the open file: loader processes that outlive a killed parent must not
        # hold it.
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f'another evaluation is writing to {self.path}: choose another output folder'
            ) from None
        except OSError:
            pass  # a file system without locks

    def _take_over(self, fingerprint):
        """Read the file; False if there is nothing in it."""
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b'\n') + 1
        lines = data[:whole].split(b'\n')[:-1]
        found, finished, offset = None, {}, 0
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line.decode('utf-8'))
                if number == 1:
                    found = entry['fingerprint']
                else:
                    finished[_from_line(entry).image_id] = offset, len(line)
                offset += len(line) + 1
            except (ValueError, KeyError, TypeError):
                if number == len(lines) and number > 1:  # torn, and its end overwritten
                    whole -= len(line) + 1
                    break
                raise OutputError(
                    f'{self.path} is damaged in line {number}: run without --resume to start again'
                ) from None
        if found is None:
            return False
        differences = _differences(found, fingerprint)
        if differences:
            raise OptionError(
                'cannot resume, {} is of another run: {}; give the same settings again, or leave --resume'
                ' away to start again'.format(self.path, '; '.join(differences))
            )
        self._file.truncate(whole)
        self._end = whole
        self.finished = finished
        return True

    def _write(self, entries):
        """Append entries; returns (offset, length) of each."""
        lines = [
            json.dumps(entry, separators=(',', ':'), allow_nan=False).encode('utf-8') for entry in entries
        ]
        _Whole(self._file).write(b''.join(line + b'\n' for line in lines))
        places = []
        for line in lines:
            places.append((self._end, len(line)))
            self._end += len(line) + 1
        return places


class _Whole:
    """A raw file whose ``write`` writes all of it."""

    def __init__(self, file):
        self._file = file

    def write(self, data):
        while data:
            data = data[self._file.write(data) :]


def _to_line(record):
    times = [value if isinstance(value, bool) else round(value, 4) for value in record.times]
    line = {
        'image_id': record.image_id,
        'times': times,
        'detections': [[item['category_id']] + item['bbox'] + [item['score']] for item in record.results],
    }
    return line if record.damage is None else dict(line, damage=record.damage)


def _from_line(entry):
    image_id = entry['image_id']
    results = [
        {'image_id': image_id, 'category_id': row[0], 'bbox': row[1:5], 'score': row[5]}
        for row in entry['detections']
    ]
    return Record(image_id, results, ImageTimes(*entry['times']), entry.get('damage'))


def _differences(old, new, prefix=''):
    """``name: old, now new`` for every value that two dicts of dicts do not share."""
    found = []
    for key in sorted(set(old) | set(new)):
        name = prefix + key
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += _differences(before, now, name + '.')
        elif before != now:
            found.append(f'{name} was {json.dumps(before)}, is now {json.dumps(now)}')
    return found
