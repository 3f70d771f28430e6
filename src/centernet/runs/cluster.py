"""Divide a run among the workers of a Dask cluster, and merge the journals of its shards.

Nothing but the plan and the number of a shard is sent to the workers, and, where they share no folder with
the client, a journal back.
"""

import asyncio
import contextlib
import logging
import os
import sys
import uuid
import zlib
from typing import Any, Callable, Dict, Iterator, List, Optional

import attr

from ..options.fields import IMAGES, RUN
from ..sample import SAMPLE_WEIGHTS
from ..system.errors import Interrupted, OptionError
from ..system.files import atomic_write, display_path, ensure_folder, remove_file
from ..system.shards import Shard, shard_of_folder
from ..system.versions import versions
from .cluster_worker import Job, check, describe, run_shard
from .journal import JOURNAL_NAME
from .merge import merge
from .plan import Plan, headline, match_data, open_data
from .predict import progress_bar
from .record import Record
from .run import Run
from .score import Score

#: shards per worker: a lost or slow worker delays the end by little
_PER_WORKER = 4
#: a journal that is sent back has so many images at most, about 10 MB
_MOST_IMAGES = 2000
_CONNECT_S = 20
SHARDS_NAME = 'shards'


def evaluate_on(
    address: str,
    certificates: str,
    shards: Optional[int],
    plan: Plan,
    output: str,
    announce: Callable[[List[str], int, int], None],
    progress: bool = True,
    pages: Any = None,
) -> Score:
    """Evaluate on a cluster; finished images in the output folder are not evaluated again.

    Args:
        address: of the scheduler, ``tls://host:port``.
        certificates: the folder of ca.pem, node.pem and node.key.
        shards: how many, None to choose.
        plan: what.
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
    data = open_data(plan.data, output, need_images=pages is not None)
    ids = plan.selection.all_shards(data.image_ids, data.annotations)
    job = _job(plan, os.path.join(os.path.abspath(output), SHARDS_NAME))
    ensure_folder(job.folder)
    again = 'run the same command to continue'
    with _client(address, certificates) as client, _token(job):
        workers = _check_workers(client, job)
        try:
            record = client.submit(describe, job, pure=False).result()
            count = _shard_count(shards, job.folder, len(ids), workers)
            matched = match_data(plan.data, data, plan.file, record.network)
            announce(headline(record, plan.protocol, matched), count, workers)
            parts = [Shard(index + 1, count) for index in range(count)]
            _finish(client, job, record, {shard: shard.of(ids) for shard in parts}, progress)
        except (KeyboardInterrupt, SystemExit) as error:
            raise Interrupted(f'interrupted; {again}') from error
        except Exception as error:
            if type(error).__name__ == 'KilledWorker':  # of distributed.scheduler
                raise Interrupted(
                    f'several workers died of one shard, perhaps out of memory; {again}'
                ) from error
            if client.status == 'running':
                raise
            raise Interrupted(f'lost the scheduler {address}; {again}') from error
    return merge([os.path.join(job.folder, shard.folder) for shard in parts], output, data, pages=pages)


def _job(plan: Plan, folder: str) -> Job:
    """What the workers get, with absolute paths."""
    names = ('data', 'annotations', 'images')
    paths = {name: getattr(plan.data, name) for name in names if getattr(plan.data, name)}
    paths = {name: os.path.abspath(path) for name, path in paths.items()}
    # the sample is in the package, wherever that is on a worker
    file = None if plan.file == SAMPLE_WEIGHTS else os.path.abspath(plan.file)
    plan = attr.evolve(plan, file=file, data=attr.evolve(plan.data, **paths))
    read = [*paths.values(), *([file] if file else [])]
    return Job(f'centernet-{uuid.uuid4().hex}', plan, read, folder, versions())


def _finish(client: Any, job: Job, record: Record, ids: Dict[Shard, List[int]], progress: bool) -> None:
    """Evaluate the shards that are not finished. ``ids``: of the images of each."""
    from distributed import as_completed

    left = {shard: len(ids[shard]) - _count_finished(job, record, shard, ids[shard]) for shard in ids}
    todo = [shard for shard in ids if left[shard]]
    total = sum(map(len, ids.values()))
    with contextlib.closing(progress_bar(progress)(total, total - sum(left.values()))) as bar:
        futures = client.map(run_shard, todo, job=job, expected=record, pure=False)
        waiting = dict(zip(futures, todo))
        for future in as_completed(futures, loop=client.loop):
            journal, shard = future.result(), waiting.pop(future)
            bar.update(left[shard])
            if journal is not None:
                folder = ensure_folder(os.path.join(job.folder, shard.folder))
                with atomic_write(os.path.join(folder, JOURNAL_NAME), 'wb') as file:
                    file.write(zlib.decompress(journal))
        if waiting:
            raise ConnectionError('futures were cancelled')


@contextlib.contextmanager
def _client(address: str, certificates: str) -> Iterator[Any]:
    """Connect to the scheduler."""
    if not address.startswith('tls://'):
        raise OptionError(f'--dask {address}: only tls://host:port, as a cluster runs whatever it is sent')
    try:
        from distributed import Client, Security
    except ImportError:
        if sys.version_info < (3, 9):
            raise OptionError('--dask needs the modern stack, with Python 3.9 or newer') from None
        raise OptionError("--dask needs distributed: pip install 'centernet-container[dask]'") from None
    for name in ('distributed', 'distributed.client', 'distributed.core'):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what is lost is said in one line
    files = [os.path.join(certificates, name) for name in ('ca.pem', 'node.pem', 'node.key')]
    for path in files:
        if not os.path.isfile(path):
            raise OptionError(f'no certificate {display_path(path)}: deploy/dask/certificates.sh makes them')
    names = ('tls_ca_file', 'tls_client_cert', 'tls_client_key')
    security = Security(require_encryption=True, **dict(zip(names, files)))
    try:
        client = Client(address, security=security, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise OptionError(f'cannot connect to {address}: {_reason(error)}') from None
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
    """Return the number of workers. Raise OptionError or DataError if there are none, or if they differ from
    this machine."""
    try:
        client.wait_for_workers(1, timeout=_CONNECT_S)
    except (TimeoutError, asyncio.TimeoutError):
        raise OptionError(f'no worker is connected to {client.scheduler.address}') from None
    return len(client.run(check, job))


def _shard_count(wanted: Optional[int], folder: str, images: int, workers: int) -> int:
    """Return the number of shards: that of an earlier call, if there was one."""
    earlier = {shard.count for shard in map(shard_of_folder, os.listdir(folder)) if shard}
    if len(earlier) > 1 or (earlier and wanted not in (None, *earlier)):
        counts = ' and into '.join(map(str, sorted(earlier)))
        raise OptionError(f'{display_path(folder)} has {counts} shards: use that number, or another --output')
    chosen = wanted or max(_PER_WORKER * workers, -(-images // _MOST_IMAGES))
    return max(earlier, default=min(chosen, images))


def _count_finished(job: Job, record: Record, shard: Shard, ids: List[int]) -> int:
    """Return how many images are in the journal of a shard, which may be missing.

    Raise OptionError if :func:`.merge` would refuse the journal in the end: better before hours of work.
    """
    folder = os.path.join(job.folder, shard.folder)
    run = Run.open(folder) if os.path.isdir(folder) else None
    if run is None:
        return 0
    with run:
        found = [item for session in run.sessions for item in session.differences(record, RUN, IMAGES)]
        if found:
            raise OptionError(f'{run.name} is of another run: {"; ".join(map(str, found))}')
        return sum(image_id in run.finished for image_id in ids)
