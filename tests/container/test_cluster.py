"""The profile cluster: workers are killed and added, and results.json is that of one run, byte for byte."""

import contextlib
import os
import subprocess
import time

import pytest
from support.engine import ROOT, STACK, Compose, call, show
from support.processes import journal_ids

pytestmark = pytest.mark.skipif(STACK != 'modern', reason='the pinned stack has no Dask')

IMAGES = 120
#: the sample enlarged, one image at a time, so that it takes a while
FLAGS = ['--input-height', '512', '--input-width', '512', '--batch-size', '1', '--threads', '1']
FLAGS += ['--workers', '0', '--no-progress', '--limit', str(IMAGES)]
OWNER = 1234
HANG_S = 240
#: prints the ports on which others can reach a container
LISTENING = r"""
for line in open('/proc/net/tcp').readlines()[1:] + open('/proc/net/tcp6').readlines()[1:]:
    address, state = line.split()[1], line.split()[3]
    if state == '0A' and not address.startswith(('0100007F', '0B00007F')):
        print(int(address.rpartition(':')[2], 16))
"""


class Cluster(Compose):
    """Compose's services with certificates, in a project of its own."""

    def __init__(self, settings, folder):
        super().__init__(settings, folder)
        self.certificates = self.make_certificates(folder / 'certificates')
        self.give(self.output)
        self.environment.update(
            CERTIFICATES_DIR=str(self.certificates), COMPOSE_PROJECT_NAME=f'centernet-cluster-{os.getpid()}'
        )

    def make_certificates(self, folder):
        call([os.path.join(ROOT, 'deploy', 'dask', 'certificates.sh'), str(folder)])
        self.give(*folder.iterdir())
        return folder

    def give(self, *paths):
        """Let somebody else than root own them, as usual."""
        if os.getuid() == 0:
            for path in paths:
                os.chown(str(path), OWNER, OWNER)

    def compose(self, *words):
        command = ['docker', 'compose', '--profile', 'cluster', *words]
        return call(command, environment=self.environment, cwd=ROOT)

    def scale(self, count):
        """Let so many workers run, as docs/container.md does."""
        self.compose('up', '--detach', '--no-recreate', '--scale', f'worker={count}', 'worker')

    def containers(self, service):
        """The running containers of a service."""
        return set(self.compose('ps', '--quiet', service).stdout.split())

    def finished(self, folder):
        return [
            image_id
            for path in (self.output / folder).glob('shards/shard-*')
            for image_id in journal_ids(path)
        ]

    def wait_for_more_than(self, count, process):
        """Wait until more images are finished, while a process runs."""
        deadline = time.time() + HANG_S
        while len(self.finished('eval-pth')) <= count:
            assert process.poll() is None, process.stdout.read()
            assert time.time() < deadline
            time.sleep(0.1)

    @contextlib.contextmanager
    def started(self, *flags):
        """``eval-pth-dask`` in the background."""
        name = '{}-client'.format(self.environment['COMPOSE_PROJECT_NAME'])
        command = ['docker', 'compose', 'run', '--rm', '-T', '--name', name, 'eval-pth-dask', *flags]
        show(' '.join(command))
        process = subprocess.Popen(
            command,
            env=self.environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()
            self.docker('rm', '--force', name, check=False)


@pytest.fixture(scope='module')
def cluster(settings, images, tmp_path_factory):
    """A scheduler and three workers."""
    made = Cluster(settings, tmp_path_factory.mktemp('cluster'))
    try:
        made.scale(3)
        yield made
    finally:
        print(made.compose('logs', '--tail', '30').stdout)
        made.compose('down', '--timeout', '2')


def test_only_the_cluster_reaches_it(cluster):
    (scheduler,) = cluster.containers('scheduler')
    deadline = time.time() + 60
    ports = ''
    while '8786' not in ports and time.time() < deadline:
        ports = cluster.docker('exec', scheduler, 'python', '-c', LISTENING, quiet=True).stdout
        time.sleep(0.2)
    assert set(ports.split()) == {'8786'}
    for container in {scheduler} | cluster.containers('worker'):
        published = cluster.docker('inspect', '--format', '{{json .NetworkSettings.Ports}}', container)
        assert published.stdout.strip() in ('{}', 'null')
    network = '{}_cluster'.format(cluster.environment['COMPOSE_PROJECT_NAME'])
    printed = cluster.docker('network', 'inspect', '--format', '{{.Internal}}', network).stdout
    assert printed.strip() == 'true', 'it has a way out'


def test_workers_come_and_go(cluster):
    first = cluster.containers('worker')
    assert len(first) == 3
    with cluster.started(*FLAGS) as process:
        cluster.wait_for_more_than(IMAGES // 5, process)
        killed, *others = first
        cluster.docker('kill', '--signal', 'KILL', killed)
        assert len(cluster.finished('eval-pth')) < IMAGES // 2, 'it was killed too late'
        cluster.docker('rm', killed)
        cluster.scale(3)
        assert len(cluster.containers('worker') - first) == 1
        cluster.docker('pause', *others)
        finished = len(cluster.finished('eval-pth'))
        cluster.wait_for_more_than(finished, process)  # by the added one
        cluster.docker('unpause', *others)
        printed, _ = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, printed
    assert 'Traceback' not in printed
    finished = cluster.finished('eval-pth')
    assert len(finished) == len(set(finished)) == IMAGES

    cluster.run('eval-pth', *FLAGS, '--output', 'output/whole')
    results = [(cluster.output / name / 'results.json').read_bytes() for name in ('eval-pth', 'whole')]
    assert len(results[0]) > 10000 and results[0] == results[1]
    if os.getuid() == 0:
        assert {path.stat().st_uid for path in cluster.output.glob('**/*')} == {OWNER}


def test_other_certificates_are_refused(cluster, tmp_path):
    other = cluster.make_certificates(tmp_path / 'other')
    words = ['--limit', '1', '--output', 'output/refused']
    run = cluster.run('eval-pth-dask', *words, check=False, CERTIFICATES_DIR=str(other))
    assert run.returncode == 2
    (line,) = [line for line in run.stderr.splitlines() if 'error' in line]
    assert 'tls://scheduler:8786' in line and 'certificate' in line.lower()
    assert 'Traceback' not in run.stderr
    assert not (cluster.output / 'refused' / 'results.json').exists()
