"""The folder of a run: its record, its journal, and the files that were made of them.

It is the one place that knows whether a path is the run's own. A run removes only what its journal lists as
made, and writes over nothing else.
"""

import contextlib
import fcntl
import glob
import io
import logging
import os
import resource
from typing import IO, Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from ..options.fields import DIGITS, RUN, to_json
from ..system.errors import DataError, OptionError, OutputError
from ..system.files import display_path, ensure_folder, remove_file
from ..system.shards import Shard, shard_of_folder
from .journal import (
    JOURNAL_NAME,
    VERSION,
    Content,
    Finished,
    Line,
    read_content,
    read_image,
    to_line,
    to_lines,
)
from .record import Record

#: files that a run may make; those of a run that is not known to have made them are somebody else's
RESULTS_NAME, METRICS_NAME = 'results.json', 'metrics.json'


_log = logging.getLogger(__name__)


class JournalBusy(OutputError):
    """Another run is writing to the journal."""


class Run:
    """The folder of a run; a context manager. :meth:`begin` writes to it, :meth:`open` reads it.

    Attributes:
        folder: its absolute path.
        record: the run as it is evaluated now, or as it was in its last session.
        sessions: the record in each session that evaluated images.
        finished: image id -> place in the journal.
        failed: image id -> reason for the images that could not be read.
    """

    def __init__(self, folder: str, file: IO[bytes], record: Record, content: Optional[Content]) -> None:
        self.folder = os.path.abspath(folder)
        self.path = os.path.join(self.folder, JOURNAL_NAME)
        self._file = file
        self.record = record
        self.sessions: List[Record] = content.sessions if content else []
        self.finished: Dict[int, Line] = content.finished if content else {}
        self.failed: Dict[int, str] = content.failed if content else {}
        self._made = content.made if content else set()
        self._end = content.end if content else 0
        self._session_is_written = False

    @property
    def name(self) -> str:
        """The folder as it is shown to people."""
        return display_path(self.folder)

    @classmethod
    def open(cls, folder: str) -> Optional['Run']:
        """Open the run in a folder to read it; None if it has no finished line yet.

        Raises:
            DataError: the folder is not that of a run, or its journal is damaged or of another version.
        """
        path = os.path.join(folder, JOURNAL_NAME)
        if not os.path.isdir(folder):
            raise DataError(f'no such folder: {display_path(folder)}')
        if not os.path.exists(path) and not shard_of_folder(os.path.basename(os.path.normpath(folder))):
            raise DataError(f'{display_path(folder)} is not the folder of a run: it has no {JOURNAL_NAME}')
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(open(path, 'rb'))
            except FileNotFoundError:
                return None
            except OSError as error:
                raise DataError(f'cannot read {display_path(path)}: {error.strerror}') from None
            content = read_content(file, path)
            if content is None or not content.sessions:
                return None
            stack.pop_all()
            return cls(folder, file, content.sessions[-1], content)

    @classmethod
    def made_in(cls, folder: str) -> Set[str]:
        """Return the absolute paths of what a run has written into a folder; none if it has no run."""
        if not os.path.exists(os.path.join(folder, JOURNAL_NAME)):
            return set()
        run = cls.open(folder)
        if run is None:
            return set()
        with run:
            return {os.path.join(run.folder, *name.split('/')) for name in run._made}

    @classmethod
    def begin(cls, folder: str, record: Record, resume: bool = False, sources: Iterable[str] = ()) -> 'Run':
        """Start a run in a folder, or continue the one that is in it.

        What an earlier run has made there is removed, and its journal replaced or continued.

        Args:
            folder: created if missing.
            record: what is evaluated now.
            resume: continue the run whose journal is in the folder, if there is one.
            sources: files and folders that are read, which must not be removed.

        Raises:
            OptionError: the journal is of another run; the message says what differs.
            DataError: the journal is damaged or of another version.
            OutputError: the folder cannot be written, or another run is writing to it.
        """
        path = os.path.join(ensure_folder(folder), JOURNAL_NAME)
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(open(path, 'a+b', buffering=0))
                _lock(file, path)
                file.seek(0)
                reader = io.BufferedReader(file)
                stack.callback(reader.detach)  # closing it would close the file, and let the lock go
                content = read_content(reader, path)
            except OSError as error:
                raise OutputError(f'cannot write {display_path(path)}: {error.strerror}') from error
            run = cls(folder, file, record, content)
            run._check_sources(sources)
            if resume and content is not None:
                run._resume(content)
            else:
                run._restart()
            reader.detach()
            stack.pop_all()
            return run

    def __enter__(self) -> 'Run':
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def add(self, finished: Sequence[Finished], failures: Mapping[int, str]) -> None:
        """Append finished images, and those that could not be read (id -> reason), with a single write.

        Raises:
            OutputError: the file cannot be written.
        """
        lines = [] if self._session_is_written else [to_line({'session': self.record.session()})]
        first = len(lines)
        lines += to_lines(finished)
        if failures:
            failed = {str(image_id): reason for image_id, reason in failures.items()}
            lines.append(to_line({'failed': failed}))
        places = self._append(lines)[first:]
        if not self._session_is_written:
            changed = self.sessions[-1].differences(self.record, DIGITS) if self.sessions else ()
            if changed:
                _log.info('resumed under other conditions: %s', '; '.join(map(str, changed)))
            self.sessions.append(self.record)
            self._session_is_written = True
        for item, (offset, length) in zip(finished, places):
            self.finished[item.image_id] = Line(offset, length, len(self.sessions) - 1)
            self.failed.pop(item.image_id, None)
        self.failed.update(failures)

    def join(self, other: 'Run') -> None:
        """Append the images of another run, with their sessions."""
        number = None
        for image_id, line in other.finished.items():
            lines = []
            if line.session != number:
                number = line.session
                self.sessions.append(other.sessions[number])
                lines.append(to_line({'session': other.sessions[number].session()}))
            lines.append(os.pread(other._file.fileno(), line.length, line.offset) + b'\n')
            offset, length = self._append(lines)[-1]
            self.finished[image_id] = Line(offset, length, len(self.sessions) - 1)
        if other.failed:
            self._append([to_line({'failed': {str(key): why for key, why in other.failed.items()}})])
            self.failed.update(other.failed)

    def read(self, image_id: int) -> Finished:
        """Return a finished image.

        Raises:
            OutputError: the file cannot be read, or something else has been written into it.
        """
        return read_image(self._file.fileno(), self.finished[image_id], image_id, self.path)

    def session_of(self, image_id: int) -> Record:
        """Return the record of the session that evaluated a finished image."""
        return self.sessions[self.finished[image_id].session]

    def target(self, *names: str) -> str:
        """Return the path of a file that the run is going to write, and list it in the journal as made.

        Args:
            names: of the folders in the run's folder, and of the file.

        Raises:
            OutputError: it is somebody else's.
        """
        path, name = os.path.join(self.folder, *names), '/'.join(names)
        if name not in self._made:
            if os.path.lexists(path):
                raise OutputError(
                    f'{display_path(path)} would be overwritten, but the run in {self.name} did not make it:'
                    ' choose another --output, or move the file'
                )
            self._append([to_line({'made': [name]})])
            self._made.add(name)
        if len(names) > 1:
            ensure_folder(os.path.dirname(path))
        return path

    def check_exists(self) -> None:
        """Raise OutputError if the journal was removed during the run, which no write reports."""
        if not os.path.isfile(self.path):
            raise OutputError(
                f'{display_path(self.path)} is missing: the output folder was removed or emptied during the'
                ' run'
            )

    def _resume(self, content: Content) -> None:
        differing = content.record.differences(self.record, RUN)
        if differing:
            raise OptionError(
                f'cannot resume: {display_path(self.path)} belongs to a different run'
                f' ({"; ".join(map(str, differing))}); use the same settings, or omit --resume to start again'
            )
        self._file.truncate(content.end)  # an incomplete line
        self._remove_made()

    def _check_sources(self, sources: Iterable[str]) -> None:
        """Raise OutputError if this run reads what the run before it in this folder has made."""
        if not self._made:
            return
        read = set(map(os.path.realpath, sources))
        for name in self._made:
            path = os.path.realpath(os.path.join(self.folder, name))
            while path not in read and path != os.path.dirname(path):
                path = os.path.dirname(path)
            if path in read:
                raise OutputError(
                    f'{display_path(os.path.join(self.folder, name))} was made by the last run in'
                    f' {self.name}, and this run reads it: choose another --output'
                )

    def _restart(self) -> None:
        self._remove_made()
        self.sessions, self.finished, self.failed, self._made = [], {}, {}, set()
        self._file.truncate(0)
        self._end = 0
        self._append([to_line({'journal': VERSION, 'record': to_json(self.record)})])

    def _remove_made(self) -> None:
        """Remove what was made of the journal, so that it is never beside a journal that it was not made
        of."""
        folders = set()
        for name in self._made:
            remove_file(os.path.join(self.folder, name))
            folders.add(os.path.dirname(name))
        for folder in sorted(filter(None, folders), reverse=True):
            with contextlib.suppress(OSError):  # with files of others, or gone
                os.rmdir(os.path.join(self.folder, folder))

    def _append(self, lines: List[bytes]) -> List[Tuple[int, int]]:
        """Write lines; return their offsets, and their lengths without the newline."""
        rest = b''.join(lines)
        try:
            while rest:  # a raw file may write only a part
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._file.truncate(self._end)  # so that what is appended later does not follow half a line
            raise OutputError(f'cannot write {display_path(self.path)}: {error.strerror}') from error
        places = []
        for line in lines:
            places.append((self._end, len(line) - 1))
            self._end += len(line)
        return places


def _lock(file: IO[bytes], path: str) -> None:
    # A lock of the process, not of the open file: worker processes that outlive a killed parent must not hold
    # it.
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise JournalBusy(
            f'another evaluation is writing to {display_path(path)}: choose another output folder'
        ) from None
    except OSError:
        pass  # a file system without locks


def find_runs(folders: Sequence[str]) -> Dict[str, List[str]]:
    """Return the folders of the shards of each run.

    Args:
        folders: each that of a shard, or with folders of shards, or with such a folder for each of several
            checkpoints.

    Returns:
        Name of a checkpoint -> folders of its shards. The name is empty if ``folders`` are of one run.

    Raises:
        DataError: a folder is missing, or has no shards.
    """
    runs: Dict[str, List[str]] = {}
    for folder in folders:
        if not os.path.isdir(folder):
            raise DataError(f'no such folder: {display_path(folder)}')
        found = {'': [folder]} if os.path.isfile(os.path.join(folder, JOURNAL_NAME)) else _shards_in(folder)
        if not found:
            raise DataError(
                f'{display_path(folder)} has neither a {JOURNAL_NAME} nor folders of shards, such as'
                f' {Shard(1, 4).folder}'
            )
        for name, shards in found.items():
            runs.setdefault(name, []).extend(shards)
    if '' in runs and len(runs) > 1:
        raise DataError(
            'some folders belong to one run, and some to several checkpoints: merge each kind by itself'
        )
    return runs


def _shards_in(folder: str) -> Dict[str, List[str]]:
    for depth in ('*', os.path.join('*', '*')):
        found: Dict[str, List[Tuple[Shard, str]]] = {}
        for path in glob.glob(os.path.join(glob.escape(folder), depth, '')):
            parent, name = os.path.split(os.path.normpath(path))
            shard = shard_of_folder(name)
            if shard:
                name = os.path.relpath(parent, folder)
                found.setdefault('' if name == os.curdir else name, []).append((shard, path))
        if found:
            return {name: [path for _, path in sorted(found[name])] for name in sorted(found)}
    return {}


def allow_open_files(count: int) -> None:
    """Let this process open so many files, as far as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 100
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
