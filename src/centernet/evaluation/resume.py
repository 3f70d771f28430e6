"""The journal of a run: what is finished, so that an interrupted run can go on.

A text file of JSON lines. The first says what the run is (a fingerprint of weights, protocol and data), each other one holds a
finished image with its detections and times. Lines are only ever added, one write per batch, so after a ``kill -9`` at most the
last line is torn; that image is evaluated again.
"""

import fcntl
import json
import os
from typing import Any, Dict, List, NamedTuple

from ..errors import OptionError, OutputError
from .timings import ImageTimes

JOURNAL_NAME = 'journal.jsonl'
_VERSION = 1


class Record(NamedTuple):
    """A finished image: its detections in COCO's results format, and what it cost."""

    image_id: int
    results: List[Dict[str, Any]]
    times: ImageTimes


class Journal:
    """A context manager around the journal file in ``folder``; ``finished`` maps image ids to Records.

    Args:
        folder: the output folder; it exists.
        fingerprint: dict of plain values that must be the same for two runs to be one.
        resume: take over what the journal has. Where there is none yet, the run starts at its beginning. When not resuming,
            an old journal is replaced.

    Raises:
        OptionError: the journal is of a run with another fingerprint; the message says what differs.
        OutputError: the file cannot be written, is damaged, or another run is writing to it.
    """

    def __init__(self, folder: str, fingerprint: Dict[str, Any], resume: bool) -> None:
        self.path = os.path.join(folder, JOURNAL_NAME)
        self.finished = {}
        fingerprint = json.loads(json.dumps(fingerprint))  # as it comes back from the file
        try:
            self._file = open(self.path, 'a+b', buffering=0)
            try:
                self._lock()
                if not resume or not self._take_over(fingerprint):
                    self._file.truncate(0)
                    self._write([{'journal': _VERSION, 'fingerprint': fingerprint}])
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise OutputError('cannot write {}: {}'.format(self.path, error.strerror)) from error

    def __enter__(self) -> 'Journal':
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def add(self, records: List[Record]) -> None:
        """Append finished images, all of them in one write."""
        try:
            self._write([_to_line(record) for record in records])
        except OSError as error:
            raise OutputError('cannot write {}: {}'.format(self.path, error.strerror)) from error
        self.finished.update((record.image_id, record) for record in records)

    def _lock(self):
        # A lock of the process, not of the open file: loader processes that outlive a killed parent must not hold it.
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError('another evaluation is writing to {}: choose another output folder'.format(self.path)) from None
        except OSError:
            pass  # a file system without locks

    def _take_over(self, fingerprint):
        """Read the file; False if there is nothing in it."""
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b'\n') + 1
        lines = data[:whole].split(b'\n')[:-1]
        entries = []
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line.decode('utf-8'))
                entries.append(_from_line(entry) if number > 1 else entry['fingerprint'])
            except (ValueError, KeyError, TypeError):
                if number == len(lines) and number > 1:  # torn, and its end overwritten
                    whole -= len(line) + 1
                    break
                raise OutputError('{} is damaged in line {}: run without --resume to start again'.format(
                    self.path, number)) from None
        if not entries:
            return False
        differences = _differences(entries[0], fingerprint)
        if differences:
            raise OptionError('cannot resume, {} is of another run: {}; give the same settings again, or leave --resume away to '
                              'start again'.format(self.path, '; '.join(differences)))
        self._file.truncate(whole)
        self.finished = {record.image_id: record for record in entries[1:]}
        return True

    def _write(self, entries):
        data = ''.join(json.dumps(entry, separators=(',', ':'), allow_nan=False) + '\n' for entry in entries).encode('utf-8')
        while data:
            data = data[self._file.write(data):]


def _to_line(record):
    times = [value if isinstance(value, bool) else round(value, 4) for value in record.times]
    return {'image_id': record.image_id, 'times': times,
            'detections': [[item['category_id']] + item['bbox'] + [item['score']] for item in record.results]}


def _from_line(entry):
    image_id = entry['image_id']
    results = [{'image_id': image_id, 'category_id': row[0], 'bbox': row[1:5], 'score': row[5]} for row in entry['detections']]
    return Record(image_id, results, ImageTimes(*entry['times']))


def _differences(old, new, prefix=''):
    """``name: old, now new`` for every value that two dicts of dicts do not share."""
    found = []
    for key in sorted(set(old) | set(new)):
        name = prefix + key
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += _differences(before, now, name + '.')
        elif before != now:
            found.append('{} was {}, is now {}'.format(name, json.dumps(before), json.dumps(now)))
    return found
