"""What runs on the workers of a cluster."""

import argparse
import functools
import json
import multiprocessing
import os
import shutil
import threading
import time
import zlib
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..coco import CocoData
from ..errors import DataError, OptionError
from ..evaluation import EvalOptions
from ..evaluation.journal import JournalBusy
from ..evaluation.journal_file import JOURNAL_NAME, differences
from ..evaluation.loop import fill_journal, fingerprint
from ..provenance import versions
from ..shards import Shard

#: seconds to wait for the journal of a worker that was lost: network file systems keep its lock for a while
_BUSY_S = 120
_REPORT_S = 0.5


class Prepared(NamedTuple):
    """A network and the data for it. ``lines``: what is said about them before the results."""

    runner: Callable
    data: CocoData
    options: EvalOptions
    lines: List[str]


class Job(NamedTuple):
    """What all shards of a run have in common.

    ``name``: of this call of the command. ``prepare``: (options of the command) -> :class:`Prepared`.
    ``arguments``: the options, with absolute paths. ``paths``: of the files that are read. ``folder``: of the
    shards, absolute. ``token``: a file in it; who sees it shares the folder. ``versions``: of the client;
    all workers must have them.
    """

    name: str
    prepare: Callable[[argparse.Namespace], Prepared]
    arguments: Dict[str, Any]
    paths: Tuple[str, ...]
    folder: str
    token: str
    versions: Dict[str, Optional[str]]


class Stopped(Exception):
    """The run was stopped, or started again by another call of the command."""


# Of this process. Shards are evaluated one at a time, and the last network is kept for the next one.
_one_at_a_time = threading.Lock()
_prepared: Dict[str, Prepared] = {}
_owners: Dict[str, Optional[str]] = {}


def look(paths: Sequence[str]) -> Dict[str, Any]:
    """Return the versions here, and those of the paths that are missing."""
    return {'versions': versions(), 'missing': [path for path in paths if not os.path.exists(path)]}


def check_versions(job: Job, found: Dict[str, Optional[str]], worker: str) -> None:
    """Raise OptionError unless ``worker`` has the versions of the client."""
    differing = differences(job.versions, found)
    if differing:
        raise OptionError(f'{worker} has other versions than the client: {"; ".join(differing)}')


def claim(folder: str, name: Optional[str]) -> None:
    """Let only the run ``name``, or none, write into a folder; others stop at their next batch."""
    _owners[folder] = name


def describe(job: Job) -> Tuple[Dict[str, Any], List[str]]:
    """Load the network; return the fingerprint of the run, and the lines about it."""
    with _one_at_a_time:
        prepared = _prepare(job)
        return fingerprint(prepared.runner, prepared.data, prepared.options), prepared.lines


def run_shard(job: Job, expected: Dict[str, Any], shard: Shard) -> Optional[bytes]:
    """Evaluate a shard into its journal.

    Args:
        job: the run.
        expected: its fingerprint.
        shard: which part.

    Returns:
        None if the journal is in the shared folder, else its content, compressed by zlib.

    Raises:
        OptionError: this worker has other versions, or would compute something else.
        Stopped: see :func:`claim`.
        Others as :func:`centernet.evaluation.evaluate`.
    """
    with _one_at_a_time:
        check_versions(job, versions(), _address())  # it may have joined after the client looked
        prepared = _prepare(job)
        found = differences(expected, fingerprint(prepared.runner, prepared.data, prepared.options))
        if found:
            raise OptionError(f'{_address()} differs from the first worker: {"; ".join(found)}')
        shared = os.path.exists(job.token)
        folder = os.path.join(job.folder if shared else _scratch(job), shard.folder)
        options = prepared.options._replace(shard=shard)
        _owners.setdefault(job.folder, job.name)
        reporter = functools.partial(_Reporter, job, shard)
        deadline = time.time() + _BUSY_S
        while True:
            try:
                fill_journal(prepared.runner, prepared.data, options, folder, reporter)
                break
            except JournalBusy:
                if time.time() > deadline:
                    raise
                time.sleep(1)
        if shared:
            return None
        with open(os.path.join(folder, JOURNAL_NAME), 'rb') as file:
            content = zlib.compress(file.read(), 1)
        shutil.rmtree(folder)
        return content


class _Reporter:
    """Tells the client how many images of a shard are finished."""

    def __init__(self, job: Job, shard: Shard, _total: int, finished: int) -> None:
        self.job, self.shard, self.finished = job, shard, finished
        self.reported = 0.0
        self.update(0)

    def update(self, count: int) -> None:
        if _owners.get(self.job.folder) != self.job.name:
            raise Stopped
        self.finished += count
        if time.time() - self.reported > _REPORT_S:
            self.report()

    def close(self) -> None:
        self.report()

    def report(self) -> None:
        self.reported = time.time()
        _worker().log_event(self.job.name, [self.shard.index, self.finished])


def _prepare(job: Job) -> Prepared:
    files = []
    for path in job.paths:
        if not os.path.exists(path):
            raise DataError(f'{_address()} does not see {path}: mount it there under the same path')
        files.append((path, os.stat(path).st_mtime, os.stat(path).st_size))
    key = json.dumps([job.arguments, files], default=str, sort_keys=True)
    if key not in _prepared:
        _prepared.clear()  # one network at a time
        arguments = argparse.Namespace(**dict(job.arguments, output=_scratch(job)))
        if multiprocessing.current_process().daemon:  # must not have processes of its own
            arguments.workers = 0
        _prepared[key] = job.prepare(arguments)
    return _prepared[key]


def _scratch(job: Job) -> str:
    folder = os.path.join(_worker().local_directory, job.name)
    os.makedirs(folder, exist_ok=True)
    return folder


def _address() -> str:
    return f'the worker {_worker().address}'


def _worker() -> Any:
    from distributed import get_worker

    return get_worker()
