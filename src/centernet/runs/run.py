"""The folder of a run: its record, its journal, and the files that were made of them.

It is the one place that knows whether a path is the run's own. A run removes only what its journal lists as
made, and writes over nothing else.
"""

import contextlib
import fcntl
import glob
import logging
import os
import resource
from typing import IO, Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set

from ..options.fields import DIGITS, RUN
from ..system.errors import DataError, OptionError, OutputError
from ..system.files import display_path, ensure_folder, remove_file
from ..system.shards import Shard, shard_of_folder
from .journal import JOURNAL_NAME, Finished, Journal, failed_entry
from .record import Record

#: files that a run may make; those of a run that is not known to have made them are somebody else's
RESULTS_NAME, METRICS_NAME = 'results.json', 'metrics.json'


_log = logging.getLogger(__name__)


class JournalBusy(OutputError):
    """Another run is writing to the journal."""


class Run(Journal):
    """The folder of a run; a context manager. :meth:`begin` writes to it, :meth:`open` reads it.

    Attributes:
        folder: its absolute path.
        record: the run as it is evaluated now, or as it was in its last session.
    """

    record: Record

    def __init__(self, folder: str, file: IO[bytes]) -> None:
        self.folder = os.path.abspath(folder)
        super().__init__(os.path.join(self.folder, JOURNAL_NAME), file)
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
        try:
            run = cls(folder, open(path, 'rb', buffering=0))
        except FileNotFoundError:
            if shard_of_folder(os.path.basename(os.path.normpath(folder))):
                return None
            raise DataError(f'{display_path(folder)} is no run: it has no {JOURNAL_NAME}') from None
        except OSError as error:
            raise DataError(f'cannot read {display_path(path)}: {error.strerror}') from None
        with contextlib.ExitStack() as stack:
            stack.enter_context(run).load()
            if not run.sessions:
                return None
            run.record = run.sessions[-1]
            stack.pop_all()
            return run

    @classmethod
    def made_in(cls, folder: str) -> Set[str]:
        """Return the absolute paths of what a run has written into a folder; none if it has no run."""
        run = cls.open(folder) if os.path.exists(os.path.join(folder, JOURNAL_NAME)) else None
        if run is None:
            return set()
        with run:
            return {os.path.join(run.folder, *name.split('/')) for name in run.made}

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
                run = stack.enter_context(cls(folder, open(path, 'a+b', buffering=0)))
                run._lock()
                run.load()
            except OSError as error:
                raise OutputError(f'cannot write {display_path(path)}: {error.strerror}') from error
            run.record = record
            run._check_sources(sources)
            resume = resume and run.first is not None
            if resume:
                run._check_same(record)
            run._remove_made()
            if resume:
                run.cut()
            else:
                run.restart(record)
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
        entries = [item.entry() for item in finished] + ([failed_entry(failures)] if failures else [])
        if not self._session_is_written:
            entries.insert(0, {'session': self.record.session()})
        self.append(*entries)
        if not self._session_is_written:
            changed = self.sessions[-2].differences(self.record, DIGITS) if self.sessions[1:] else ()
            if changed:
                _log.info('resumed under other conditions: %s', '; '.join(map(str, changed)))
            self._session_is_written = True

    def target(self, *names: str) -> str:
        """Return the path of a file that the run is going to write, and list it in the journal as made.

        Args:
            names: of the folders in the run's folder, and of the file.

        Raises:
            OutputError: it is somebody else's.
        """
        path, name = os.path.join(self.folder, *names), '/'.join(names)
        if name not in self.made:
            if os.path.lexists(path):
                raise OutputError(
                    f'{display_path(path)} exists, and this run did not make it: choose another --output'
                )
            self.append({'made': [name]})
        if len(names) > 1:
            ensure_folder(os.path.dirname(path))
        return path

    def check_exists(self) -> None:
        """Raise OutputError if the journal was removed during the run, which no write reports."""
        if not os.path.isfile(self.path):
            raise OutputError(f'{display_path(self.path)} was removed during the run')

    def _check_same(self, record: Record) -> None:
        differing = self.first.differences(record, RUN)
        if differing:
            raise OptionError(
                f'{self.name} belongs to a different run ({"; ".join(map(str, differing))}); omit --resume'
            )

    def _check_sources(self, sources: Iterable[str]) -> None:
        """Raise OutputError if this run reads what the run before it in this folder has made."""
        read = set(map(os.path.realpath, sources))
        for name in self.made:
            path = os.path.realpath(os.path.join(self.folder, name))
            while path not in read and path != os.path.dirname(path):
                path = os.path.dirname(path)
            if path in read:
                raise OutputError(
                    f'{display_path(os.path.join(self.folder, name))} was made by the last run in'
                    f' {self.name}, and this run reads it: choose another --output'
                )

    def _remove_made(self) -> None:
        """Remove what was made of the journal, so that it is never beside a journal that it was not made
        of."""
        for name in self.made:
            remove_file(os.path.join(self.folder, name))
        for folder in sorted(filter(None, map(os.path.dirname, self.made)), reverse=True):
            with contextlib.suppress(OSError):  # with files of others, or gone
                os.rmdir(os.path.join(self.folder, folder))

    def _lock(self) -> None:
        # A lock of the process, not of the open file: worker processes that outlive a killed parent must not
        # hold it.
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalBusy(f'another run is writing to {self.name}: choose another --output') from None
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
                f'{display_path(folder)} has no {JOURNAL_NAME}, nor folders such as {Shard(1, 4).folder}'
            )
        for name, shards in found.items():
            runs.setdefault(name, []).extend(shards)
    if '' in runs and len(runs) > 1:
        raise DataError('some folders are of one run, and some of several checkpoints: merge each by itself')
    return runs


def _shards_in(folder: str) -> Dict[str, List[str]]:
    for depth in ('*', '*/*'):
        paths = map(os.path.normpath, glob.glob(os.path.join(glob.escape(folder), depth, '')))
        shards = [(shard_of_folder(os.path.basename(path)), path) for path in paths]
        found: Dict[str, List[str]] = {}
        for _, path in sorted(item for item in shards if item[0]):
            name = '' if depth == '*' else os.path.basename(os.path.dirname(path))
            found.setdefault(name, []).append(path)
        if found:
            return dict(sorted(found.items()))
    return {}


def allow_open_files(count: int) -> None:
    """Let this process open so many files, as far as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 100 if hard == resource.RLIM_INFINITY else min(count + 100, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
