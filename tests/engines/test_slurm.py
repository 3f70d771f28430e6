"""deploy/slurm on a real Slurm: tasks that are killed, out of time, on a failing node, or missing."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
from support import slurm as slurm_of_tests
from support.processes import HANG_S, SOURCE, TESTS, journal_ids, metrics

from centernet.sample import SAMPLE_WEIGHTS

# an input and batches with which a shard takes some seconds
FLAGS = ['--weights', SAMPLE_WEIGHTS, '--data', 'my data', '--batch-size', '2']
FLAGS += ['--input-height', '192', '--input-width', '192']
FEW = [*FLAGS, '--limit', '8']

pytestmark = pytest.mark.engines
SUBMIT = os.path.join(os.path.dirname(TESTS), 'deploy', 'slurm', 'submit.sh')
IMAGES = 160

# What users have on PATH. It notes its process, which exec keeps.
CENTERNET = """#!/bin/bash
echo $$ >>{folder}/pids-${{SLURM_ARRAY_TASK_ID:-merge}}
PYTHONPATH={source} exec {python} -m centernet "$@"
"""

# Apptainer with --compat, as far as the job can tell: of the host's variables, only those handed over.
APPTAINER = """#!/bin/bash
set -eu
[ "$*" = "run --nv --compat --bind $PWD --pwd $PWD my image.sif ${{*:9}}" ]
variables=(PATH={bin}:/usr/bin:/bin)
for name in "${{!APPTAINERENV_@}}"; do variables+=("${{name#*_}}=${{!name}}"); done
exec env --ignore-environment "${{variables[@]}}" centernet "${{@:9}}"
"""


@pytest.fixture(scope='module')
def slurm(tmp_path_factory):
    missing = slurm_of_tests.missing()
    if missing:
        pytest.skip(
            f'there is no {missing[0]}; install the packages slurmctld, slurmd, slurm-client and munge'
        )
    programs = tmp_path_factory.mktemp('bin')
    values = {
        'folder': programs,
        'bin': programs,
        'source': os.path.abspath(SOURCE),
        'python': sys.executable,
    }
    for name, text in (('centernet', CENTERNET), ('apptainer', APPTAINER)):
        path = programs / name
        path.write_text(text.format(**{key: shlex.quote(str(value)) for key, value in values.items()}))
        path.chmod(0o755)
    path = os.pathsep.join((str(programs), os.environ['PATH']))
    with slurm_of_tests.Slurm(tmp_path_factory.mktemp('engine') / 'slurm', PATH=path) as engine:
        engine.programs = programs
        yield engine


@pytest.fixture(scope='module')
def work(tmp_path_factory):
    """The folder that jobs are submitted in, with the sample's data."""
    folder = tmp_path_factory.mktemp('work folder')
    centernet(folder, 'sample', '--limit', str(IMAGES), '--output', 'my data')
    return folder


@pytest.fixture(scope='module')
def whole(work):
    """The output folder of a run that is not divided."""
    centernet(work, 'eval-pth', *FLAGS, '--output', 'whole')
    return work / 'whole'


@pytest.fixture(scope='module')
def few(work):
    """The same of a run over few images."""
    centernet(work, 'eval-pth', *FEW, '--output', 'few')
    return work / 'few'


def centernet(folder, *words):
    environment = dict(os.environ, PYTHONPATH=os.path.abspath(SOURCE), OMP_NUM_THREADS='1', DEVICE='cpu')
    subprocess.run(
        [sys.executable, '-m', 'centernet', *words],
        cwd=str(folder),
        env=environment,
        stdout=subprocess.DEVNULL,
        timeout=HANG_S,
        check=True,
    )


class Submission:
    """What submit.sh has submitted: the ids of the two jobs, and the output folder."""

    def __init__(self, slurm, work, shards, flags, output, options=(), **variables):
        words = [SUBMIT, '--cpus-per-task=1', *options, str(shards), *flags, '--output', output]
        settings = [f'{name}={value}' for name, value in variables.items()]
        printed = slurm.call('env', *settings, *words, cwd=work)
        self.array, self.merge = re.match(r'submitted: (\d+), .* and (\d+), which', printed).groups()
        self.slurm, self.shards, self.output = slurm, shards, work / output

    def folder(self, index):
        return self.output / f'shard-{index}-of-{self.shards}'

    def finished(self, index):
        """How many images of a shard are finished."""
        return len(journal_ids(self.folder(index)))

    def log(self, index):
        return (self.output / 'logs' / f'shard-{index}-of-{self.shards}.log').read_text()

    def merge_log(self):
        return (self.output / 'logs' / 'merge.log').read_text()

    def wait(self):
        self.slurm.wait_for(lambda: self.merge not in self.slurm.queue(), 'the merge ends')

    def outcome(self, index=None):
        """The state, exit status and restarts of a task; None: of the merge."""
        job = self.slurm.job(self.merge if index is None else f'{self.array}_{index}')
        return job['JobState'], int(job['ExitCode'].split(':')[0]), int(job['Restarts'])

    def equals(self, run):
        """Check that the merge succeeded, and has what a run that is not divided has."""
        assert self.outcome() == ('COMPLETED', 0, 0), self.merge_log()
        assert metrics(self.output / 'merged') == metrics(run)
        subprocess.run(
            ['cmp', str(self.output / 'merged' / 'results.json'), str(run / 'results.json')], check=True
        )


def test_tasks_that_are_killed_or_run_out_of_time_resume(slurm, work, whole):
    run = Submission(slurm, work, 4, FLAGS, 'my output')
    journals = {}

    def kill():
        os.kill(int((slurm.programs / 'pids-2').read_text().split()[-1]), signal.SIGKILL)

    def end_time():
        slurm.call('scancel', '--batch', '--signal=USR1', f'{run.array}_3')  # as --signal=B:USR1@60 does

    def stop_in_the_middle(index, stop):
        if index not in journals and run.finished(index) >= 6:
            text = (run.folder(index) / 'journal.jsonl').read_bytes()
            journals[index] = text[: text.rindex(b'\n') + 1]
            stop()
        return index in journals

    slurm.wait_for(
        lambda: all([stop_in_the_middle(2, kill), stop_in_the_middle(3, end_time)]),
        'shards 2 and 3 have begun',
    )
    run.wait()
    for index in range(1, 5):
        resumed = index in journals
        assert run.outcome(index) == ('COMPLETED', 0, int(resumed)), run.log(index)
        text = (run.folder(index) / 'journal.jsonl').read_bytes()
        assert text.startswith(journals.get(index, b''))
        assert text.count(b'\n{"session":') == 1 + resumed
        ids = journal_ids(run.folder(index))
        assert (len(ids), len(set(ids))) == (IMAGES // 4, IMAGES // 4), 'an image was evaluated twice'
        log = run.log(index)
        assert log.count(f'centernet: shard {index}/4 (SLURM_ARRAY_TASK_ID={index}, SHARDS=4)') == 1 + resumed
        assert '\r' not in log and ', 1 thread, ' in log
    assert 'job.sh: eval-pth was killed (exit status 137); it starts again' in run.log(2)
    assert f'of {IMAGES // 4} images are finished' in run.log(3)
    assert f'4 shards, {IMAGES} images' in run.merge_log()
    run.equals(whole)


def test_tasks_of_a_node_that_fails_resume(slurm, work, whole):
    run = Submission(slurm, work, 2, FLAGS, 'node')
    slurm.wait_for(lambda: all(run.finished(index) >= 6 for index in (1, 2)), 'both tasks have begun')
    slurm.cut_power_of_node()
    slurm.start_node()
    run.wait()
    for index in (1, 2):
        assert run.outcome(index) == ('COMPLETED', 0, 1), run.log(index)
        assert (run.folder(index) / 'journal.jsonl').read_bytes().count(b'\n{"session":') == 2
    run.equals(whole)


def test_single_tasks_make_up_for_missing_shards(slurm, work, few):
    run = Submission(slurm, work, 4, FEW, 'part', ['--array=2'])
    run.wait()
    assert run.outcome(2) == ('COMPLETED', 0, 0)
    assert run.outcome() == ('FAILED', 2, 0)
    assert 'images are missing (shards 1/4, 3/4, 4/4: ' in run.merge_log()
    assert re.search(r'merge again: centernet eval-pth .*--shard 1/4 .*--resume', run.merge_log())
    run = Submission(slurm, work, 4, FEW, 'part', ['--array=1,3-4'])
    run.wait()
    run.equals(few)


def test_an_image_that_cannot_be_read_fails_its_task_and_is_left_out(slurm, work):
    shutil.copytree(str(work / 'my data'), str(work / 'damaged'))
    first = sorted((work / 'damaged' / 'val2017').iterdir())[0]
    first.write_bytes(first.read_bytes()[:100])
    run = Submission(slurm, work, 2, [*FEW, '--data', 'damaged'], 'bad image')
    run.wait()
    assert run.outcome(1) == ('FAILED', 1, 0)
    assert run.outcome(2) == ('COMPLETED', 0, 0)
    assert run.outcome() == ('FAILED', 1, 0)
    document = json.loads((run.output / 'merged' / 'metrics.json').read_text())
    assert (document['images'], len(document['failed_images'])) == (7, 1)


@pytest.mark.parametrize(
    'failure, status, restarts', [('kill -9 $$', 137, 1), ('exit 255  # as Apptainer does', 255, 0)]
)
def test_a_task_that_always_fails_comes_to_an_end(slurm, work, tmp_path, failure, status, restarts):
    program = tmp_path / 'centernet'
    program.write_text(f'#!/bin/bash\n{failure}\n')
    program.chmod(0o755)
    path = os.pathsep.join((str(tmp_path), slurm.environment['PATH']))
    run = Submission(slurm, work, 1, [], f'status {status}', PATH=path, RESTARTS='1')
    run.wait()
    assert run.outcome(1) == ('FAILED', status, restarts)


def test_tasks_run_in_apptainer(slurm, work, few):
    (work / 'my image.sif').touch()
    run = Submission(slurm, work, 2, FEW[2:], 'contained', IMAGE='my image.sif', WEIGHTS=SAMPLE_WEIGHTS)
    run.wait()
    run.equals(few)


@pytest.mark.parametrize(
    'words, image, message',
    [
        ([], '', 'the number of shards is missing'),
        (['--partition', 'gpu', '4'], '', 'the number of shards is missing'),
        (['0'], '', 'the number of shards is missing'),
        (['4', '--output'], '', '--output needs a folder'),
        (['4'], '', 'centernet is not on PATH'),
        (['4'], 'missing.sif', 'there is no image missing.sif'),
    ],
)
def test_mistakes(tmp_path, words, image, message):
    environment = {'PATH': '/usr/bin:/bin', 'IMAGE': image}
    run = subprocess.run(
        [SUBMIT, *words],
        cwd=str(tmp_path),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    assert run.returncode != 0
    assert message in run.stderr
    assert os.listdir(str(tmp_path)) == []
