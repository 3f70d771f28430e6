"""What runs on the workers of a Dask cluster."""

import multiprocessing
import os
import shutil
import threading
import time
import zlib
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

import attr

from ..coco import CocoData
from ..networks.network import Network
from ..options.fields import RUN
from ..sample import SAMPLE_WEIGHTS
from ..system.device import apply_threads, prepare_threads
from ..system.errors import DataError, OptionError
from ..system.shards import Shard
from ..system.versions import versions
from .journal import JOURNAL_NAME
from .plan import Plan, prepare
from .predict import predict, progress_bar
from .record import Record
from .run import JournalBusy, Run
from .sources import DataSource

#: seconds to wait for the journal of another worker, which finishes its shard after Ctrl-C, or was lost:
#: network file systems keep its lock for a while
_BUSY_S = 600


class Job(NamedTuple):
    """What all shards of a run have in common.

    ``name``: of this call of the command. ``plan``: with absolute paths; its file is None for the sample's
    checkpoint. ``paths``: of the files that are read. ``folder``: of the shards, absolute. ``versions``: of
    the client; all workers must have them.
    """

    name: str
    plan: Plan
    paths: Sequence[str]
    folder: str
    versions: Dict[str, Optional[str]]

    @property
    def token(self) -> str:
        """A file in the folder; who sees it shares the folder with the client."""
        return os.path.join(self.folder, f'.{self.name}')


# Of this process. Shards are evaluated one at a time, and the last network is kept for the next one.
_one_at_a_time = threading.Lock()
_prepared: Dict[str, Tuple[Network, CocoData, Record]] = {}


def check(job: Job, dask_worker: Any = None) -> None:
    """Raise OptionError or DataError unless this worker has the client's versions and sees its files."""
    here, found = (dask_worker or _worker()).address, versions()
    differing = [
        f'{name} is {job.versions.get(name)} and {found.get(name)}'
        for name in sorted({*job.versions, *found})
        if job.versions.get(name) != found.get(name)
    ]
    if differing:
        raise OptionError(f'the worker {here} has other versions than the client: {"; ".join(differing)}')
    for path in job.paths:
        if not os.path.exists(path):
            raise DataError(f'the worker {here} does not see {path}: mount it there under the same path')


def describe(job: Job) -> Record:
    """Load the network; return the record of the run."""
    with _one_at_a_time:
        return _prepare(job)[2]


def run_shard(shard: Shard, job: Job, expected: Record) -> Optional[bytes]:
    """Evaluate a shard into its journal.

    Args:
        shard: which part.
        job: the run.
        expected: its record.

    Returns:
        None if the journal is in the shared folder, else its content, compressed by zlib.

    Raises:
        OptionError: this worker has other versions, or would compute something else.
        Others as :func:`.evaluate.evaluate`.
    """
    with _one_at_a_time:
        network, data, record = _prepare(job)
        found = expected.differences(record, RUN)
        if found:
            here = _worker().address
            raise OptionError(f'the worker {here} differs from the first: {"; ".join(map(str, found))}')
        shared = os.path.exists(job.token)
        folder = os.path.join(job.folder if shared else _scratch(job), shard.folder)
        record = attr.evolve(record, selection=attr.evolve(record.selection, shard=shard))
        source = DataSource(data, record.selection.of(data.image_ids, data.annotations))
        with _begin(folder, record) as run:
            predict(network, source, run, progress_bar(False))
        if shared:
            return None
        with open(os.path.join(folder, JOURNAL_NAME), 'rb') as file:
            content = zlib.compress(file.read(), 1)
        shutil.rmtree(folder)
        return content


def _begin(folder: str, record: Record) -> Run:
    """Continue the run in a folder, once the worker that wrote to it is gone."""
    deadline = time.time() + _BUSY_S
    while True:
        try:
            return Run.begin(folder, record, resume=True)
        except JournalBusy:
            if time.time() > deadline:
                raise
            time.sleep(1)


def _prepare(job: Job) -> Tuple[Network, CocoData, Record]:
    check(job)  # this worker may have joined after the client looked
    states = [os.stat(path) for path in job.paths]
    key = repr((job.plan, [(state.st_mtime, state.st_size) for state in states]))
    if key not in _prepared:
        _prepared.clear()  # one network at a time
        plan = attr.evolve(job.plan, file=job.plan.file or SAMPLE_WEIGHTS)
        if multiprocessing.current_process().daemon:  # must not have processes of its own
            plan = attr.evolve(plan, loading=attr.evolve(plan.loading, workers=0))
        threads = prepare_threads(plan.network.threads)
        apply_threads(threads)
        plan = attr.evolve(plan, network=attr.evolve(plan.network, threads=threads))
        _prepared[key] = prepare(plan, _scratch(job))
    return _prepared[key]


def _scratch(job: Job) -> str:
    folder = os.path.join(_worker().local_directory, job.name)
    os.makedirs(folder, exist_ok=True)
    return folder


def _worker() -> Any:
    from distributed import get_worker

    return get_worker()
