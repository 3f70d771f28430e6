"""--dask with a real scheduler and workers, as processes of this machine."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from support.processes import journal_ids
from support.stacks import ROOT

from centernet import cli

pytest.importorskip('distributed', reason='distributed is not installed: the pinned stack has none')

pytestmark = pytest.mark.engines
IMAGES = 90
SLOW = ['--limit', str(IMAGES), '--input-height', '512', '--input-width', '512']
SAME = ['--device', 'cpu', '--threads', '1', '--batch-size', '1', '--workers', '0']
DEADLINE_S = 300


def environment():
    paths = [os.path.join(ROOT, 'src')] + os.environ.get('PYTHONPATH', '').split(os.pathsep)
    return dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, paths)), OMP_NUM_THREADS='1')


def make_certificates(folder):
    script = os.path.join(ROOT, 'deploy', 'dask', 'certificates.sh')
    subprocess.run([script, str(folder)], check=True, stdout=subprocess.DEVNULL)
    return str(folder)


@pytest.fixture(scope='module')
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp('tls') / 'certificates')


class Cluster:
    """A scheduler and workers, all processes of their own."""

    def __init__(self, folder, certificates):
        self.folder, self.certificates = folder, certificates
        self.processes = []
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            self.port = free.getsockname()[1]
        self.address = f'tls://127.0.0.1:{self.port}'
        self.start_scheduler()

    def start_scheduler(self):
        words = ['scheduler', '--protocol', 'tls', '--host', '127.0.0.1', '--port', str(self.port)]
        self.scheduler = self._start('scheduler', words)
        deadline = time.time() + DEADLINE_S
        while True:
            assert self.scheduler.poll() is None and time.time() < deadline, 'no scheduler'
            with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', self.port), 1):
                return
            time.sleep(0.1)

    def start_worker(self, **variables):
        """Start a worker; its folder, and so the relative paths that it sees, is its own."""
        name = f'worker-{len(self.processes)}'
        (self.folder / name).mkdir(parents=True)
        words = ['worker', self.address, '--nworkers', '1', '--nthreads', '1', '--no-nanny', '--name', name]
        words += ['--local-directory', str(self.folder / name)]
        return self._start(name, words, self.folder / name, variables)

    def _start(self, name, words, cwd=None, variables=()):
        tls = {'--tls-ca-file': 'ca.pem', '--tls-cert': 'node.pem', '--tls-key': 'node.key'}
        words += ['--no-dashboard', '--dashboard-address', '127.0.0.1:0']
        for option, file in tls.items():
            words += [option, os.path.join(self.certificates, file)]
        with open(str(self.folder / f'{name}.log'), 'ab') as log:
            process = subprocess.Popen(
                [sys.executable, '-m', f'distributed.cli.dask_{words[0]}', *words[1:]],
                env=dict(environment(), **dict(variables)),
                cwd=cwd and str(cwd),
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def stop(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@pytest.fixture
def start_cluster(tmp_path, certificates):
    clusters = []

    def start(workers):
        clusters.append(Cluster(tmp_path / f'cluster-{len(clusters)}', certificates))
        for _ in range(workers):
            clusters[-1].start_worker()
        return clusters[-1]

    (tmp_path / 'cluster-0').mkdir()
    yield start
    for cluster in clusters:
        cluster.stop()


def begin(cluster, *words, cwd, certificates=None):
    command = [sys.executable, '-m', 'centernet', 'eval-pth', *words, '--dask', cluster.address]
    command += ['--certificates', certificates or cluster.certificates]
    return subprocess.Popen(
        command,
        env=environment(),
        cwd=str(cwd),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )


def finish(process):
    try:
        out, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.wait()
    return process.returncode, out, err


def shards_of(folder):
    return sorted(folder.glob('shards/shard-*'))


def finished(folder):
    return sum(len(journal_ids(shard)) for shard in shards_of(folder))


def wait_until(condition, process):
    deadline = time.time() + DEADLINE_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.time() < deadline, 'it takes too long'
        time.sleep(0.02)


def one_line(err):
    """The error, which is all that the command has to say."""
    lines = [line for line in err.splitlines() if not line.startswith('centernet: no --')]
    assert len(lines) == 1, err
    return lines[0]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The same images, in one process."""
    folder = tmp_path_factory.mktemp('whole')
    command = [
        sys.executable,
        '-m',
        'centernet',
        'eval-pth',
        *SLOW,
        *SAME,
        '--no-progress',
        '--output',
        str(folder),
    ]
    subprocess.run(
        command, env=environment(), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return folder


def assert_same(folder, whole):
    assert (folder / 'results.json').read_bytes() == (whole / 'results.json').read_bytes()
    metrics = [json.loads((item / 'metrics.json').read_text()) for item in (folder, whole)]
    for key in ('metrics', 'per_class', 'images'):
        assert metrics[0][key] == metrics[1][key]
    for key in ('network', 'protocol', 'environment'):
        assert metrics[0]['record'][key] == metrics[1]['record'][key]


def sessions(folder):
    lines = (folder / 'journal.jsonl').read_text().splitlines()
    return sum('session' in json.loads(line) for line in lines)


def test_one_of_three_workers_is_killed_and_another_one_joins(start_cluster, whole, tmp_path):
    cluster = start_cluster(3)
    out = tmp_path / 'out'
    process = begin(cluster, *SLOW, *SAME, '--shards', '6', '--output', str(out), cwd=tmp_path)
    victim = cluster.processes[1]
    with contextlib.closing(process.stdout):
        wait_until(lambda: sum(2 <= len(journal_ids(shard)) < 12 for shard in shards_of(out)) == 3, process)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        cluster.start_worker()
        status, text, err = finish(process)
    assert status == 0, err
    assert err.splitlines() == [line for line in err.splitlines() if line.startswith('centernet: no --')]
    assert '3 workers, 6 shards' in text and f'{IMAGES} images' in text
    assert_same(out, whole)
    shards = shards_of(out)
    assert len(shards) == 6
    for shard in shards:
        assert len(journal_ids(shard)) == len(set(journal_ids(shard))) == IMAGES // 6, (
            'an image was evaluated twice'
        )
    assert max(map(sessions, shards)) == 2, 'the shard of the killed worker was not resumed'


def test_the_scheduler_is_lost_and_the_same_command_continues(start_cluster, whole, tmp_path):
    cluster = start_cluster(2)
    out = tmp_path / 'out'
    words = [*SLOW, *SAME, '--shards', '5', '--output', str(out)]
    process = begin(cluster, *words, cwd=tmp_path)
    wait_until(lambda: finished(out) >= 20, process)
    cluster.scheduler.kill()
    status, _, err = finish(process)
    assert status == 1
    assert (
        f'lost the scheduler {cluster.address}' in one_line(err) and 'run the same command to continue' in err
    )
    for worker in cluster.processes[1:]:
        worker.wait(timeout=DEADLINE_S)  # they end without a scheduler
    before = {path: path.read_bytes() for path in out.glob('shards/*/journal.jsonl')}
    assert sum(len(content.splitlines()) for content in before.values()) > 20
    cluster.start_scheduler()
    cluster.start_worker()
    status, _, err = finish(begin(cluster, *words, cwd=tmp_path))
    assert status == 0, err
    assert_same(out, whole)
    for path, content in before.items():
        complete = content[: content.rfind(b'\n') + 1]
        assert path.read_bytes().startswith(complete), 'finished images were evaluated again'


def test_a_worker_of_another_revision_is_refused_also_when_it_joins_later(start_cluster, tmp_path):
    cluster = start_cluster(1)
    shutil.copytree(os.path.join(ROOT, 'src'), str(tmp_path / 'copy'))
    paths = os.pathsep.join([str(tmp_path / 'copy'), environment()['PYTHONPATH']])
    out = tmp_path / 'out'
    words = [*SLOW, *SAME, '--shards', '15', '--output', str(out)]
    process = begin(cluster, *words, cwd=tmp_path)
    wait_until(lambda: finished(out) >= 5, process)
    cluster.start_worker(PYTHONPATH=paths, CENTERNET_REVISION='another')
    message = 'has other versions than the client: git is'
    status, _, err = finish(process)
    assert status == 2 and message in one_line(err)
    before = finished(out)
    assert before < IMAGES
    status, _, err = finish(begin(cluster, *words, cwd=tmp_path))
    assert status == 2 and message in one_line(err)
    assert finished(out) == before
    journals = [path.read_text() for path in out.glob('shards/*/journal.jsonl')]
    assert journals and not any('"another"' in journal for journal in journals), 'it cannot be continued'


@pytest.fixture(scope='module')
def cluster(tmp_path_factory, certificates):
    """Two workers, for what does not break them."""
    cluster = Cluster(tmp_path_factory.mktemp('cluster'), certificates)
    for _ in range(2):
        cluster.start_worker()
    yield cluster
    cluster.stop()


def test_folders_that_are_not_shared(cluster, tmp_path):
    """Journals are sent back: /proc/self/cwd is another folder for each process."""
    words = ['--limit', '30', *SAME]
    out = '/proc/self/cwd/out'
    status, text, err = finish(begin(cluster, *words, '--output', out, '--report', cwd=tmp_path))
    assert status == 0, err
    assert '8 shards' in text and (tmp_path / 'out' / 'report.html').exists()
    assert len(list((tmp_path / 'out' / 'shards').glob('*/journal.jsonl'))) == 8
    command = [sys.executable, '-m', 'centernet', 'eval-pth', *words, '--no-progress', '--output', 'whole']
    subprocess.run(command, env=environment(), cwd=str(tmp_path), check=True, stdout=subprocess.DEVNULL)
    assert_same(tmp_path / 'out', tmp_path / 'whole')
    assert not list(cluster.folder.glob('worker-*/**/journal.jsonl')), 'a journal was left on a worker'


@pytest.mark.parametrize('number, status', [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_command_that_is_stopped_is_continued(cluster, whole, tmp_path, number, status):
    """The workers finish their shards; the same command takes over."""
    words = [*SLOW, *SAME, '--shards', '3', '--output', 'out']
    process = begin(cluster, *words, cwd=tmp_path)
    wait_until(lambda: finished(tmp_path / 'out') >= 10, process)
    process.send_signal(number)
    found, _, err = finish(process)
    assert found == status
    if number == signal.SIGINT:
        assert one_line(err) == 'centernet: interrupted; run the same command to continue'
    found, _, err = finish(begin(cluster, *words, cwd=tmp_path))
    assert found == 0, err
    assert_same(tmp_path / 'out', whole)
    for shard in shards_of(tmp_path / 'out'):
        assert len(journal_ids(shard)) == len(set(journal_ids(shard))) == IMAGES // 3


def test_another_run_in_the_same_folder_is_refused(cluster, tmp_path):
    words = ['--limit', '10', *SAME, '--shards', '2', '--output', 'out']
    assert finish(begin(cluster, *words, cwd=tmp_path))[0] == 0
    status, _, err = finish(begin(cluster, *words, '--flip-test', cwd=tmp_path))
    assert status == 2 and 'protocol.flip_test was false, is now true' in one_line(err)
    before = finished(tmp_path / 'out')
    status, _, err = finish(begin(cluster, *words, '--limit', '20', cwd=tmp_path))
    assert status == 2 and 'is of another run: selection.limit was 10, is now 20' in one_line(err)
    assert finished(tmp_path / 'out') == before, 'images were evaluated that cannot be merged'
    status, _, err = finish(begin(cluster, *words, '--shards', '3', cwd=tmp_path))
    assert status == 2 and 'has 2 shards' in one_line(err)


def test_what_a_user_gets_wrong_is_one_line(cluster, tmp_path):
    for words, message in (
        (['--shard', '1/2'], '--dask divides the run by itself'),
        (['--save-images', '3'], '--save-images is not available'),
        (['--weights', '/proc/self/cwd/mine.pth'], 'does not see /proc/self/cwd/mine.pth: mount it there'),
        (['--input-height', '100'], 'takes multiples of 32'),
    ):
        if '--weights' in words:
            (tmp_path / 'mine.pth').write_bytes(b'')
            (tmp_path / 'data').mkdir()
            subprocess.run(
                [sys.executable, '-m', 'centernet', 'sample', '--output', 'data'],
                env=environment(),
                cwd=str(tmp_path),
                check=True,
                stdout=subprocess.DEVNULL,
            )
            words = [*words, '--data', 'data']
        status, _, err = finish(begin(cluster, *words, cwd=tmp_path))
        assert status == 2 and message in one_line(err), err


def test_another_certificate_is_refused(cluster, tmp_path):
    other = make_certificates(tmp_path / 'other')
    start = time.time()
    status, _, err = finish(begin(cluster, *SLOW, cwd=tmp_path, certificates=other))
    assert status == 2 and f'cannot connect to {cluster.address}: ' in one_line(err)
    assert time.time() - start < 60
    status, _, err = finish(begin(cluster, *SLOW, cwd=tmp_path, certificates='nowhere'))
    assert (
        status == 2
        and 'no certificate nowhere/ca.pem: deploy/dask/certificates.sh makes them' in one_line(err)
    )


def test_only_tls_is_accepted(tmp_path):
    command = [sys.executable, '-m', 'centernet', 'eval-pth', '--dask', 'tcp://127.0.0.1:8786']
    run = subprocess.run(
        command,
        env=environment(),
        cwd=str(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    assert run.returncode == 2 and 'only tls://host:port' in one_line(run.stderr)


def test_an_address_where_nothing_answers(tmp_path, certificates, monkeypatch, capsys):
    def time_out(*_, **__):
        try:
            raise asyncio.CancelledError  # how distributed stops an attempt
        except asyncio.CancelledError as error:
            raise OSError('Timed out trying to connect') from error

    monkeypatch.setattr('distributed.Client', time_out)
    monkeypatch.chdir(tmp_path)
    assert cli.main(['eval-pth', '--dask', 'tls://host:8786', '--certificates', certificates]) == 2
    assert 'cannot connect to tls://host:8786: Timed out' in capsys.readouterr().err
