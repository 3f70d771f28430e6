"""The format of a run's journal: JSON lines.

The first line identifies the run: ``{"journal": 2, "fingerprint": {...}}``. It is the same in the journals of
all shards. Every other line is one of

- ``{"session": {...}}``: what evaluated the images that follow: device, versions, selection, paths;
- ``{"image_id": ..., "times": [...], "detections": [...]}``: a finished image;
- ``{"failed": {"<image id>": "<reason>", ...}}``: images that could not be read.
"""

import json
import os
from typing import IO, Any, Dict, List, NamedTuple, Optional

from ..errors import OutputError
from .timings import ImageTimes

JOURNAL_NAME = 'journal.jsonl'
VERSION = 2


class Record(NamedTuple):
    """A finished image: its detections in COCO's results format, and its times."""

    image_id: int
    results: List[Dict[str, Any]]
    times: ImageTimes


class Line(NamedTuple):
    """The place of a finished image's line: ``offset`` and ``length`` in bytes, without the newline;
    ``session``: the number of the session that wrote it."""

    offset: int
    length: int
    session: int


class Content(NamedTuple):
    """What a journal contains.

    ``finished``: image id -> line. ``failed``: image id -> reason for the images that could not be read and
    are not finished. ``end``: of the last complete line, in bytes.
    """

    fingerprint: Dict[str, Any]
    sessions: List[Dict[str, Any]]
    finished: Dict[int, Line]
    failed: Dict[int, str]
    end: int


class DamagedLine(Exception):
    """``number``: of a line that is none of a journal's."""

    def __init__(self, number: int) -> None:
        super().__init__(f'line {number}')
        self.number = number


class OtherVersion(Exception):
    """The journal was written by another version of this package."""


def read_content(file: IO[bytes]) -> Optional[Content]:
    """Read a journal from its start, line by line.

    After ``kill -9`` the last line may be incomplete: it does not count.

    Args:
        file: a buffered binary file.

    Returns:
        The content, or None if not even the first line is complete.

    Raises:
        DamagedLine: a line other than the last cannot be read.
        OtherVersion: the first line is of another version.
    """
    content, damaged, offset = None, None, 0
    for number, line in enumerate(file, start=1):
        if damaged is not None:
            raise DamagedLine(damaged)
        if not line.endswith(b'\n'):
            break
        try:
            entry = json.loads(line.decode('utf-8'))
            if content is None:
                if entry['journal'] != VERSION:
                    raise OtherVersion
                content = Content(entry['fingerprint'], [], {}, {}, 0)
            else:
                _add(content, entry, Line(offset, len(line) - 1, len(content.sessions) - 1))
        except (ValueError, KeyError, TypeError, AttributeError):
            if content is None:
                raise DamagedLine(number) from None
            damaged = number  # it counts as incomplete if no other follows
            continue
        offset += len(line)
    return content and content._replace(end=offset)


def _add(content: Content, entry: Dict[str, Any], line: Line) -> None:
    if 'session' in entry:
        content.sessions.append(dict(entry['session']))
    elif 'failed' in entry:
        content.failed.update((int(image_id), str(reason)) for image_id, reason in entry['failed'].items())
    else:
        image_id = entry['image_id']
        if len(entry['times']) != len(ImageTimes._fields) or not isinstance(entry['detections'], list):
            raise ValueError('not a finished image')
        content.finished[image_id] = line
        content.failed.pop(image_id, None)


def read_record(handle: int, line: Line, image_id: int, shown_path: str) -> Record:
    """Read a finished image.

    Args:
        handle: of the open journal.
        line: its line.
        image_id: its id.
        shown_path: of the journal, for messages.

    Raises:
        OutputError: the file cannot be read, or something else has been written into it.
    """
    try:
        data = os.pread(handle, line.length, line.offset)
        record: Optional[Record] = to_record(json.loads(data.decode('utf-8')))
    except OSError as error:
        raise OutputError(f'cannot read {shown_path}: {error.strerror}') from error
    except (ValueError, KeyError, TypeError):
        record = None
    if record is None or record.image_id != image_id:
        raise OutputError(f'{shown_path} was changed during the run: run without --resume to start again')
    return record


def to_line(entry: Dict[str, Any]) -> bytes:
    """Return an entry as a line of the journal."""
    return json.dumps(entry, separators=(',', ':'), allow_nan=False).encode('utf-8') + b'\n'


def to_entry(record: Record) -> Dict[str, Any]:
    """Return the entry of a finished image; :func:`to_record` is the inverse."""
    times = [value if isinstance(value, bool) else round(value, 4) for value in record.times]
    return {
        'image_id': record.image_id,
        'times': times,
        'detections': [[item['category_id']] + item['bbox'] + [item['score']] for item in record.results],
    }


def to_record(entry: Dict[str, Any]) -> Record:
    """Return the finished image of an entry. Raise ValueError, KeyError or TypeError if it is none."""
    image_id = entry['image_id']
    results = [
        {'image_id': image_id, 'category_id': row[0], 'bbox': row[1:5], 'score': row[5]}
        for row in entry['detections']
    ]
    return Record(image_id, results, ImageTimes(*entry['times']))


def differences(old: Dict[str, Any], new: Dict[str, Any], prefix: str = '') -> List[str]:
    """Return ``name was old, is now new`` for every value that differs between two nested dicts."""
    found = []
    for key in sorted(set(old) | set(new)):
        name = prefix + key
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += differences(before, now, name + '.')
        elif before != now:
            found.append(f'{name} was {json.dumps(before)}, is now {json.dumps(now)}')
    return found
