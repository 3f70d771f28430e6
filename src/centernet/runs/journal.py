"""The format of a run's journal: JSON lines.

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

import json
import os
from typing import IO, Any, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

from ..options.fields import from_json
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


class Line(NamedTuple):
    """The place of a finished image's line: ``offset`` and ``length`` in bytes, without the newline;
    ``session``: the number of the session that wrote it."""

    offset: int
    length: int
    session: int


class Content(NamedTuple):
    """What a journal contains.

    ``sessions``: the record as it was in each session. ``finished``: image id -> line. ``failed``: image id
    -> reason for the images that could not be read and are not finished. ``made``: files that the run wrote.
    ``end``: of the last complete line, in bytes.
    """

    record: Record
    sessions: List[Record]
    finished: Dict[int, Line]
    failed: Dict[int, str]
    made: Set[str]
    end: int


def read_content(file: IO[bytes], path: str) -> Optional[Content]:
    """Read a journal from its start, line by line.

    After ``kill -9`` the last line may be incomplete: it does not count.

    Args:
        file: a buffered binary file.
        path: of the file, for messages.

    Returns:
        The content, or None if not even the first line is complete.

    Raises:
        DataError: a line other than the last cannot be read, or the journal is of another version.
    """
    content, damaged, offset = None, None, 0
    for number, line in enumerate(file, start=1):
        if damaged is not None:
            raise _damaged(path, damaged)
        if not line.endswith(b'\n'):
            break
        try:
            entry = json.loads(line.decode('utf-8'))
            if content is None:
                if entry['journal'] != VERSION:
                    raise _other_version(path, entry['journal'])
                content = Content(from_json(Record, entry['record']), [], {}, {}, set(), 0)
            else:
                _add(content, entry, Line(offset, len(line) - 1, len(content.sessions) - 1))
        except (ValueError, KeyError, TypeError, AttributeError):
            if content is None:
                raise _damaged(path, number) from None
            damaged = number  # it counts as incomplete if no other follows
            continue
        offset += len(line)
    return content and content._replace(end=offset)


def _add(content: Content, entry: Dict[str, Any], line: Line) -> None:
    if 'session' in entry:
        content.sessions.append(content.record.with_session(entry['session']))
    elif 'made' in entry:
        content.made.update(map(str, entry['made']))
    elif 'failed' in entry:
        failed = {int(image_id): str(reason) for image_id, reason in entry['failed'].items()}
        content.failed.update(failed)
        for image_id in failed:  # the last line about an image counts
            content.finished.pop(image_id, None)
    else:
        image_id = entry['image_id']
        if len(entry['times']) != len(ImageTimes._fields) or not isinstance(entry['detections'], list):
            raise ValueError('not a finished image')
        content.finished[image_id] = line
        content.failed.pop(image_id, None)


def _folder(path: str) -> str:
    return display_path(os.path.dirname(path))


def _damaged(path: str, number: int) -> DataError:
    return DataError(
        f'{display_path(path)} is damaged in line {number}: remove the folder {_folder(path)}, or choose'
        ' another'
    )


def _other_version(path: str, version: Any) -> DataError:
    age = 'a newer' if isinstance(version, int) and version > VERSION else 'an earlier'
    return DataError(
        f'the folder {_folder(path)} was written by {age} version of centernet: evaluate into another'
        ' folder, or remove it'
    )


def read_image(handle: int, line: Line, image_id: int, path: str) -> Finished:
    """Read a finished image.

    Args:
        handle: of the open journal.
        line: its line.
        image_id: its id.
        path: of the journal, for messages.

    Raises:
        OutputError: the file cannot be read, or something else has been written into it.
    """
    try:
        entry = json.loads(os.pread(handle, line.length, line.offset).decode('utf-8'))
        if entry['image_id'] != image_id:
            raise ValueError(image_id)
        results = [
            {'image_id': image_id, 'category_id': row[0], 'bbox': row[1:5], 'score': row[5]}
            for row in entry['detections']
        ]
        return Finished(image_id, results, ImageTimes(*entry['times']), tuple(entry['size']))
    except OSError as error:
        raise OutputError(f'cannot read {display_path(path)}: {error.strerror}') from error
    except (ValueError, KeyError, TypeError, IndexError):
        raise OutputError(
            f'{display_path(path)} was changed during the run: run without --resume to start again'
        ) from None


def to_line(entry: Dict[str, Any]) -> bytes:
    """Return an entry as a line of the journal."""
    return json.dumps(entry, separators=(',', ':'), allow_nan=False).encode('utf-8') + b'\n'


def to_lines(finished: Iterable[Finished]) -> List[bytes]:
    """Return the lines of finished images; :func:`read_image` is the inverse."""
    return [
        to_line(
            {
                'image_id': item.image_id,
                'size': list(item.size),
                'times': [value if isinstance(value, bool) else round(value, 4) for value in item.times],
                'detections': [
                    [result['category_id']] + result['bbox'] + [result['score']] for result in item.results
                ],
            }
        )
        for item in finished
    ]
