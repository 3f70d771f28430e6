"""deploy/kubernetes/cpu without a cluster: containers with the variables, limits, user, mounts and commands
of the rendered Jobs, of which one is killed and one is evicted. The merged results are those of one run."""

import json
import os
import time

import pytest
from support.engine import IMAGE, STACK
from support.kubernetes import (
    arguments_of,
    container_of,
    docker_run,
    named,
    need_kubectl,
    pod_of,
    render,
)
from support.processes import journal_ids

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason='only root can give folders to other users')
#: image by image, so that a pod can be stopped in the middle
SLOWLY = ['--batch-size', '1', '--workers', '0']
#: seconds until Kubernetes kills what it has asked to stop
GRACE = 30
KILLED, STOPPED = 137, 143


class Pods:
    """The pods of the stack's overlay as containers; the claims are the folders of ``compose``."""

    def __init__(self, compose):
        self.docker, self.output = compose.docker, compose.output / STACK
        self.manifest = render(f'cpu/{STACK}')
        self.cores = int(self.docker('info', '--format', '{{.NCPU}}').stdout)
        self.claims = {'centernet-data': str(compose.data), 'centernet-output': str(compose.output)}
        self.evaluation, self.merging = (
            named(self.manifest, 'Job', f'{name}-{STACK}') for name in ('eval-pth', 'merge')
        )
        group = pod_of(self.evaluation)['securityContext']['fsGroup']
        for folder in self.claims.values():  # as the kubelet gives a volume to fsGroup
            os.chown(folder, 0, group)
            os.chmod(folder, 0o2770)

    def options(self, job, index=None):
        return docker_run(job, self.manifest, self.claims, self.cores, index)

    @property
    def indexes(self):
        return range(self.evaluation['spec']['completions'])

    @staticmethod
    def name(index):
        return f'centernet-test-{os.getpid()}-{index}'

    def start(self, index):
        """Start the pod of an index, after removing an earlier one."""
        self.docker('rm', '--force', self.name(index), check=False, quiet=True)
        words = self.options(self.evaluation, index) + arguments_of(self.evaluation) + SLOWLY
        self.docker('run', '--detach', '--name', self.name(index), *words)

    def wait(self, index):
        """The exit status of an index's pod, when it ends."""
        return int(self.docker('wait', self.name(index)).stdout)

    def interrupt(self, index, *how):
        """Start the pod of an index, end it in the middle by a Docker command; return how long that takes."""
        self.start(index)
        deadline = time.time() + 120
        while self.finished(index) < 3 and time.time() < deadline:
            time.sleep(0.02)
        start = time.time()
        self.docker(*how, self.name(index))
        return time.time() - start

    def folder(self, index):
        return self.output / 'eval-pth' / f'shard-{index + 1}-of-{len(self.indexes)}'

    def finished(self, index):
        """How many images the journal of an index has."""
        return len(journal_ids(self.folder(index)))

    def sessions(self, index):
        """How many pods have written the journal of an index."""
        return (self.folder(index) / 'journal.jsonl').read_text().count('\n{"session"')

    def merge(self):
        words = self.options(self.merging) + arguments_of(self.merging)
        return self.docker('run', '--rm', *words, check=False)

    def remove(self):
        for index in self.indexes:
            self.docker('rm', '--force', self.name(index), check=False, quiet=True)


@pytest.fixture
def pods(compose):
    need_kubectl()
    pods = Pods(compose)
    yield pods
    pods.remove()


def test_a_pod_is_killed_another_evicted_and_the_results_are_those_of_one_run(pods):
    assert container_of(pods.evaluation)['image'] == IMAGE
    *others, evicted, killed = pods.indexes
    for index in others:
        pods.start(index)
    seconds = pods.interrupt(evicted, 'stop', '-t', str(GRACE))
    assert seconds < GRACE / 2
    pods.interrupt(killed, 'kill', '--signal', 'KILL')
    assert [pods.wait(index) for index in (*others, evicted, killed)] == [0] * len(others) + [STOPPED, KILLED]
    total = pods.finished(others[0])
    assert all(0 < pods.finished(index) < total for index in (evicted, killed)), 'not in the middle'

    run = pods.merge()
    assert run.returncode in pods.merging['spec']['podFailurePolicy']['rules'][1]['onExitCodes']['values']
    missing = ', '.join(f'{index + 1}/{len(pods.indexes)}' for index in (evicted, killed))
    assert f'are missing (shards {missing}: ' in run.stderr

    for index in (evicted, killed):
        pods.start(index)
        assert pods.wait(index) == 0
        assert pods.finished(index) == total
        assert pods.sessions(index) == 2, 'it started again instead of resuming'
    run = pods.merge()
    assert run.returncode == 0, run.stderr

    alone = ['eval-pth', '--output', f'output/{STACK}/alone', *SLOWLY]
    pods.docker('run', '--rm', *pods.options(pods.evaluation, 0), *alone)
    merged, whole = (pods.output / name / 'results.json' for name in ('merge', 'alone'))
    assert json.loads(merged.read_text()) and merged.read_bytes() == whole.read_bytes()
    user = pod_of(pods.evaluation)['securityContext']['runAsUser']
    assert {path.stat().st_uid for path in pods.output.glob('**/*')} == {user}


def test_an_index_that_is_no_shard_fails_at_once(pods):
    words = pods.options(pods.evaluation, len(pods.indexes)) + arguments_of(pods.evaluation)
    run = pods.docker('run', '--rm', *words, check=False)
    assert run.returncode in pods.evaluation['spec']['podFailurePolicy']['rules'][1]['onExitCodes']['values']
    assert 'is no shard: set SHARDS' in run.stderr
    assert 'Traceback' not in run.stderr
