"""The journal of a run: JSON lines.

The first line is the run's record: ``{"journal": 3, "record": {...}}`` (:class:`.record.Record`). Every other
line is one of

- ``{"session": {...}}``: the selection, the loading and the environment of what evaluated the images that
  follow;
- ``{"image_id": ..., "size": [...], "times": [...], "detections": [...]}``: a finished image;
- ``{"failed": {"<image id>": "<reason>", ...}}``: images that could not be read;
- ``{"made": ["results.json", ...]}``: files that the run writes beside its journal.

Lines are only appended, one write per batch, so after ``kill -9`` at most the last line is incomplete, and
its image is evaluated again. Detections stay in the file until the run ends: in memory a hundred of them take
40 KB.
"""

import io
import json
import os
from typing import IO, Any, Dict, List, NamedTuple, Optional, Set, Tuple

from ..options.fields import from_json, to_json
from ..system.errors import DataError, OutputError
from ..system.files import display_path
from .record import Record
from .timings import ImageTimes

JOURNAL_NAME = 'journal.jsonl'
VERSION = 3


class Finished(NamedTuple):
    """A finished image: its detections in COCO's results format, its times, and its size, (height, width)."""

    image_id: int
    results: List[Dict[str, Any]]
    times: ImageTimes
    size: Tuple[int, int]

    def entry(self) -> Dict[str, Any]:
        """Its line in the journal."""
        return {
            'image_id': self.image_id,
            'size': list(self.size),
            'times': [value if isinstance(value, bool) else round(value, 4) for value in self.times],
            'detections': [[item['category_id'], *item['bbox'], item['score']] for item in self.results],
        }


class Line(NamedTuple):
    """The place of a finished image's line: ``offset`` and ``length`` in bytes, without the newline;
    ``session``: the number of the session that wrote it."""

    offset: int
    length: int
    session: int


class Journal:
    """The lines of a journal, and what they say.

    Attributes:
        path: of the file.
        first: the record in its first line; None if that is not complete.
        sessions: the record in each session that evaluated images.
        finished: image id -> place of its line.
        failed: image id -> reason for the images that could not be read.
        made: files that the run wrote, with ``/``.
    """

    def __init__(self, path: str, file: IO[bytes]) -> None:
        self.path, self._file = path, file
        self.clear()

    def clear(self) -> None:
        """Forget everything, but keep the file."""
        self.sessions: List[Record] = []
        self.finished: Dict[int, Line] = {}
        self.failed: Dict[int, str] = {}
        self.made: Set[str] = set()
        self.first: Optional[Record] = None
        self._end = 0

    def load(self) -> None:
        """Read the file from its start. After ``kill -9`` the last line may be incomplete: it does not count.

        Raises:
            DataError: a line other than the last cannot be read, or the journal is of another version.
        """
        self._file.seek(0)
        reader = io.BufferedReader(self._file)
        damaged = None
        try:
            for number, line in enumerate(reader, start=1):
                if damaged:
                    raise self._damaged(damaged)
                if not line.endswith(b'\n'):
                    break
                try:
                    self._note(json.loads(line.decode('utf-8')), len(line))
                except (ValueError, KeyError, TypeError, AttributeError):
                    if self.first is None:
                        raise self._damaged(number) from None
                    damaged = number  # it counts as incomplete if no other follows
        finally:
            reader.detach()  # closing it would close the file, and let its lock go

    def append(self, *entries: Dict[str, Any]) -> None:
        """Append entries with a single write.

        Raises:
            OutputError: the file cannot be written.
        """
        lines = [json.dumps(item, separators=(',', ':'), allow_nan=False) + '\n' for item in entries]
        self._write(''.join(lines).encode('ascii'))
        for entry, line in zip(entries, lines):
            self._note(entry, len(line))

    def join(self, other: 'Journal') -> None:
        """Append the finished images of another journal, with their sessions."""
        session = None
        for image_id, line in other.finished.items():
            if line.session != session:
                session = line.session
                self.append({'session': other.sessions[session].session()})
            content = os.pread(other._file.fileno(), line.length, line.offset) + b'\n'
            self._write(content)
            self._note({'image_id': image_id}, len(content))

    def read(self, image_id: int) -> Finished:
        """Return a finished image.

        Raises:
            OutputError: the file cannot be read.
        """
        line = self.finished[image_id]
        try:
            entry = json.loads(os.pread(self._file.fileno(), line.length, line.offset).decode('utf-8'))
        except OSError as error:
            raise OutputError(f'cannot read {display_path(self.path)}: {error.strerror}') from error
        results = [
            {'image_id': image_id, 'category_id': row[0], 'bbox': row[1:5], 'score': row[5]}
            for row in entry['detections']
        ]
        return Finished(image_id, results, ImageTimes(*entry['times']), tuple(entry['size']))

    def cut(self) -> None:
        """Remove an incomplete line from the end of the file."""
        self._file.truncate(self._end)

    def restart(self, record: Record) -> None:
        """Start the journal of a run from nothing."""
        self.clear()
        self._file.truncate(0)
        self.append({'journal': VERSION, 'record': to_json(record)})

    def _note(self, entry: Dict[str, Any], length: int) -> None:
        """Take in a line that was read or written."""
        if self.first is None:
            if entry['journal'] != VERSION:
                age = 'a newer' if entry['journal'] > VERSION else 'an earlier'
                raise DataError(
                    f'{display_path(self.path)} is of {age} version of centernet: choose another folder'
                )
            self.first = from_json(Record, entry['record'])
        elif 'session' in entry:
            self.sessions.append(self.first.with_session(entry['session']))
        elif 'made' in entry:
            self.made.update(map(str, entry['made']))
        elif 'failed' in entry:  # the last line about an image counts
            for image_id, reason in entry['failed'].items():
                self.failed[int(image_id)] = str(reason)
                self.finished.pop(int(image_id), None)
        else:
            self.finished[entry['image_id']] = Line(self._end, length - 1, len(self.sessions) - 1)
            self.failed.pop(entry['image_id'], None)
        self._end += length

    def _write(self, content: bytes) -> None:
        try:
            while content:  # a raw file may write only a part
                content = content[self._file.write(content) :]
        except OSError as error:
            self.cut()  # so that what is appended later does not follow half a line
            raise OutputError(f'cannot write {display_path(self.path)}: {error.strerror}') from error

    def _damaged(self, line: int) -> DataError:
        return DataError(f'{display_path(self.path)} is damaged in line {line}: choose another folder')


def failed_entry(failures: Any) -> Dict[str, Any]:
    """The line of images that could not be read, id -> reason."""
    return {'failed': {str(image_id): reason for image_id, reason in failures.items()}}
