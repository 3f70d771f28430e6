"""Divide a run among the workers of a Dask cluster, and merge the journals of its shards.

Nothing but the plan and the number of a shard is sent to the workers, and, where they share no folder with
the client, a journal back.
"""

import asyncio
import contextlib
import logging
import os
import sys
import time
import zlib
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from ..coco import CocoData
from ..options.fields import IMAGES, RUN
from ..system.errors import DataError, Interrupted, OptionError
from ..system.files import atomic_write, display_path, ensure_folder, remove_file
from ..system.shards import Shard, shard_of_folder
from .cluster_worker import Job, Stopped, check_versions, claim, describe, look, run_shard
from .evaluate import Evaluation
from .journal import JOURNAL_NAME
from .merge import merge
from .predict import progress_bar
from .record import Record
from .run import Run

#: shards per worker: a lost or slow worker delays the end by little
_PER_WORKER = 4
#: a journal that is sent back has so many images at most, about 10 MB
_MOST_IMAGES = 2000
_CONNECT_S = 20
_POLL_S = 0.2
SHARDS_NAME = 'shards'


class Cluster(NamedTuple):
    """Where the scheduler is.

    ``address``: ``tls://host:port``. ``certificates``: the folder of ca.pem, node.pem and node.key.
    ``shards``: how many, None to choose.
    """

    address: str
    certificates: str
    shards: Optional[int] = None


def evaluate_on(
    cluster: Cluster,
    job: Job,
    data: CocoData,
    output: str,
    announce: Any,
    progress: bool = True,
    pages: Any = None,
) -> Evaluation:
    """Evaluate on a cluster; finished images in the output folder are not evaluated again.

    Args:
        cluster: where.
        job: what; ``folder`` and ``token`` are in the output folder.
        data: the data set, with any channels.
        output: the folder for results.json, metrics.json and ``shards``.
        announce: gets the lines about the run, the number of shards and that of workers, before it starts.
        progress: show a progress bar on stderr.
        pages: as for :func:`.evaluate.evaluate`.

    Raises:
        OptionError: the cluster cannot be used, its workers differ from this machine, or ``shards`` are of
            another run.
        UserError: what a worker raises.
        Interrupted: the scheduler was lost, a shard was lost with several workers, or Ctrl-C.
    """
    ids = job.plan.selection.all_shards(data.image_ids, data.annotations)
    ensure_folder(job.folder)
    with _client(cluster) as client, _token(job):
        workers = _check_workers(client, job)
        client.run(claim, job.folder, job.name)
        try:
            record, lines = client.submit(describe, job, pure=False).result()
            count = _shard_count(cluster, job.folder, len(ids), workers)
            announce(lines, count, workers)
            _Shards(client, job, record, ids, count).finish(progress)
        except (KeyboardInterrupt, SystemExit) as error:
            raise Interrupted('interrupted; run the same command to continue') from error
        except Exception as error:
            if client.status == 'running' or isinstance(error, Interrupted):
                raise
            raise Interrupted(
                f'lost the scheduler {cluster.address}; run the same command to continue'
            ) from error
        finally:
            with contextlib.suppress(Exception):
                if client.status == 'running':
                    client.run(claim, job.folder, None)
    folders = [os.path.join(job.folder, Shard(index + 1, count).folder) for index in range(count)]
    return merge(folders, output, data, pages=pages)


class _Shards:
    """The shards of a run on a cluster."""

    def __init__(self, client: Any, job: Job, record: Record, ids: List[int], count: int) -> None:
        self.client, self.job, self.record, self.count = client, job, record, count
        self.total = len(ids)
        #: index of a shard -> how many of its images are finished
        self.finished: Dict[int, int] = {}
        self.open: List[Shard] = []
        for shard in (Shard(index + 1, count) for index in range(count)):
            done = _finished(os.path.join(job.folder, shard.folder), record)
            own = shard.of(ids)
            self.finished[shard.index] = sum(image_id in done for image_id in own)
            if self.finished[shard.index] < len(own):
                self.open.append(shard)

    def finish(self, progress: bool) -> None:
        """Evaluate the shards that are not finished."""
        from distributed import CancelledError
        from distributed.scheduler import KilledWorker

        self.client.subscribe_topic(self.job.name, self._note)
        waiting = {
            self.client.submit(run_shard, self.job, self.record, shard, pure=False): shard
            for shard in self.open
        }
        with contextlib.closing(progress_bar(progress)(self.total, sum(self.finished.values()))) as bar:
            while waiting:
                time.sleep(_POLL_S)
                bar.update(sum(self.finished.values()) - bar.n)
                if self.client.status != 'running':
                    self._lost()
                for future in [future for future in waiting if future.done()]:
                    shard = waiting.pop(future)
                    try:
                        self._store(shard, future.result())
                    except KilledWorker as error:
                        raise Interrupted(
                            f'shard {shard} was lost with several workers, one after the other, perhaps'
                            f' because memory ran out; {self._how_to_continue()}'
                        ) from error
                    except Stopped as error:
                        raise Interrupted('another call of the command has taken over') from error
                    except CancelledError:
                        self._lost()
            bar.update(self.total - bar.n)

    def _note(self, event: Any) -> None:
        """Take a worker's report; called in a thread of the client."""
        index, finished = event[1]
        self.finished[index] = finished

    def _store(self, shard: Shard, journal: Optional[bytes]) -> None:
        if journal is None:
            return
        folder = ensure_folder(os.path.join(self.job.folder, shard.folder))
        with atomic_write(os.path.join(folder, JOURNAL_NAME), 'wb') as file:
            file.write(zlib.decompress(journal))

    def _lost(self) -> None:
        raise Interrupted(f'lost the scheduler {self.client.scheduler.address}; {self._how_to_continue()}')

    def _how_to_continue(self) -> str:
        finished = sum(self.finished.values())
        return f'{finished} of {self.total} images are finished; run the same command to continue'


@contextlib.contextmanager
def _client(cluster: Cluster) -> Iterator[Any]:
    """Connect to the scheduler."""
    if not cluster.address.startswith('tls://'):
        raise OptionError(
            f'--dask {cluster.address}: the ports of a cluster run whatever they are sent, so only'
            ' tls://host:port is accepted'
        )
    try:
        from distributed import Client, Security
    except ImportError:
        if sys.version_info < (3, 9):
            raise OptionError('--dask needs the modern stack, with Python 3.9 or newer') from None
        raise OptionError(
            "--dask needs the package distributed: pip install 'centernet-container[dask]'"
        ) from None
    for name in ('distributed', 'distributed.client', 'distributed.core'):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what is lost is said in one line
    files = [os.path.join(cluster.certificates, name) for name in ('ca.pem', 'node.pem', 'node.key')]
    for path in files:
        if not os.path.isfile(path):
            raise OptionError(f'no certificate {display_path(path)}: deploy/dask/certificates.sh makes them')
    security = Security(
        require_encryption=True, tls_ca_file=files[0], tls_client_cert=files[1], tls_client_key=files[2]
    )
    try:
        client = Client(cluster.address, security=security, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise OptionError(f'cannot connect to {cluster.address}: {_reason(error)}') from None
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=2)


def _reason(error: BaseException) -> str:
    """What the network said first, on one line."""
    reason = error
    while error:
        if isinstance(error, OSError) and str(error):  # not that waiting for it was cancelled
            reason = error
        error = error.__cause__ or error.__context__
    return ' '.join(str(reason).split()) or type(reason).__name__


@contextlib.contextmanager
def _token(job: Job) -> Iterator[None]:
    with atomic_write(job.token) as file:
        file.write(job.name)
    try:
        yield
    finally:
        remove_file(job.token)


def _check_workers(client: Any, job: Job) -> int:
    """Return the number of workers. Raise OptionError if there are none, or if they differ from this
    machine."""
    try:
        client.wait_for_workers(1, timeout=_CONNECT_S)
    except (TimeoutError, asyncio.TimeoutError):
        raise OptionError(f'no worker is connected to {client.scheduler.address}') from None
    answers = client.run(look, job.paths)
    for address, answer in answers.items():
        check_versions(job, answer['versions'], f'the worker {address}')
        if answer['missing']:
            path = answer['missing'][0]
            raise DataError(f'the worker {address} does not see {path}: mount it there under the same path')
    return len(answers)


def _shard_count(cluster: Cluster, folder: str, images: int, workers: int) -> int:
    """Return the number of shards: that of an earlier call, if there was one."""
    earlier = {shard.count for shard in map(shard_of_folder, os.listdir(folder)) if shard}
    if earlier:
        count = max(earlier)
        if len(earlier) > 1 or cluster.shards not in (None, count):
            counts = ' and into '.join(map(str, sorted(earlier)))
            raise OptionError(
                f'{display_path(folder)} is divided into {counts}: use that number of --shards, or another'
                ' --output'
            )
        return count
    chosen = cluster.shards or max(_PER_WORKER * workers, -(-images // _MOST_IMAGES))
    return min(chosen, images)


def _finished(folder: str, record: Record) -> Any:
    """Return the ids of the images in the journal of a shard, which may be missing.

    Raise OptionError if :func:`.merge` would refuse the journal in the end: better before hours of work.
    """
    if not os.path.isdir(folder):
        return ()
    run = Run.open(folder)
    if run is None:
        return ()
    with run:
        found = [item for session in run.sessions for item in session.differences(record, RUN, IMAGES)]
        if found:
            raise OptionError(
                f'{run.name} belongs to a different run ({"; ".join(map(str, found))}); use the same'
                ' settings, or another --output'
            )
        return run.finished
