"""The journal of a run: its finished images, so that an interrupted run can be resumed, and the journals of a
divided run can be merged.

Lines (:mod:`.journal_file`) are only appended, one write per batch, so after ``kill -9`` at most the last
line is incomplete, and its image is evaluated again. Detections stay in the file until the run ends: in
memory a hundred of them take 40 KB.
"""

import contextlib
import fcntl
import io
import json
import os
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ..errors import OptionError, OutputError
from ..files import display_path
from .journal_file import (
    JOURNAL_NAME,
    VERSION,
    DamagedLine,
    Line,
    OtherVersion,
    Record,
    differences,
    read_content,
    read_record,
    to_entry,
    to_line,
)


class JournalBusy(OutputError):
    """Another run is writing to the journal."""


class Journal:
    """A context manager for the journal file in ``folder``.

    ``finished`` maps the ids of the finished images to their lines; :meth:`read` returns one. ``sessions``
    are the descriptions of what wrote them, in order.

    Args:
        folder: the output folder; it exists.
        fingerprint: JSON-compatible values that must be equal for a run to be resumed.
        session: JSON-compatible description of what evaluates now. It is written before the first image.
        resume: continue an existing journal, if there is one. Otherwise it is replaced.
        derived: names of files in the folder that are made from the journal. They are removed, so that they
            are never next to a journal that they were not made from.

    Raises:
        OptionError: the journal belongs to a run with a different fingerprint; the message says what differs.
        OutputError: the file cannot be written, is damaged, or another run is writing to it.
    """

    def __init__(
        self,
        folder: str,
        fingerprint: Dict[str, Any],
        session: Dict[str, Any],
        resume: bool,
        derived: Tuple[str, ...] = (),
    ) -> None:
        self.path = os.path.join(folder, JOURNAL_NAME)
        self.finished: Dict[int, Line] = {}
        self.sessions: List[Dict[str, Any]] = []
        self._session: Optional[Dict[str, Any]] = session
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
                    self._append([to_line({'journal': VERSION, 'fingerprint': fingerprint})])
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise OutputError(f'cannot write {self._shown_path}: {error.strerror}') from error

    def __enter__(self) -> 'Journal':
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def add(self, records: List[Record], failures: Mapping[int, str]) -> None:
        """Append finished images, and those that could not be read, with a single write.

        Args:
            records: the finished images.
            failures: image id -> reason.

        Raises:
            OutputError: the file cannot be written.
        """
        entries: List[Dict[str, Any]] = []
        if self._session is not None:
            entries.append({'session': self._session})
            self.sessions.append(self._session)
            self._session = None
        first = len(entries)
        entries += [to_entry(record) for record in records]
        if failures:
            entries.append({'failed': {str(image_id): reason for image_id, reason in failures.items()}})
        try:
            places = self._append([to_line(entry) for entry in entries])[first:]
        except OSError as error:
            raise OutputError(f'cannot write {self._shown_path}: {error.strerror}') from error
        for record, (offset, length) in zip(records, places):
            self.finished[record.image_id] = Line(offset, length, len(self.sessions) - 1)

    def read(self, image_id: int) -> Record:
        """Return a finished image.

        Raises:
            OutputError: the file cannot be read, or something else has been written into it.
        """
        return read_record(self._file.fileno(), self.finished[image_id], image_id, self._shown_path)

    def session_of(self, image_id: int) -> Dict[str, Any]:
        """Return the description of what evaluated a finished image."""
        return self.sessions[self.finished[image_id].session]

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
            raise JournalBusy(
                f'another evaluation is writing to {self._shown_path}: choose another output folder'
            ) from None
        except OSError:
            pass  # a file system without locks

    def _load(self, fingerprint: Dict[str, Any]) -> bool:
        """Read the file; return False if it is empty."""
        self._file.seek(0)
        reader = io.BufferedReader(self._file)
        try:
            content = read_content(reader)
        except DamagedLine as error:
            raise OutputError(
                f'{self._shown_path} is damaged in line {error.number}: run without --resume to start again'
            ) from None
        except OtherVersion:
            raise OutputError(
                f'{self._shown_path} was written by another version of centernet: run without --resume to'
                ' start again'
            ) from None
        finally:
            reader.detach()  # closing it would close the file
        if content is None:
            return False
        found = differences(content.fingerprint, fingerprint)
        if found:
            raise OptionError(
                'cannot resume: {} belongs to a different run ({}); use the same settings, or omit --resume'
                ' to start again'.format(self._shown_path, '; '.join(found))
            )
        self._file.truncate(content.end)  # an incomplete line
        self._end = content.end
        self.finished, self.sessions = content.finished, content.sessions
        return True

    def _append(self, lines: List[bytes]) -> List[Tuple[int, int]]:
        """Write lines; return their offsets, and their lengths without the newline."""
        rest = b''.join(lines)
        while rest:  # a raw file may write only a part
            rest = rest[self._file.write(rest) :]
        places = []
        for line in lines:
            places.append((self._end, len(line) - 1))
            self._end += len(line)
        return places
