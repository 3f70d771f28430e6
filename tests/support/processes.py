"""The fault tests' commands: processes of their own that can be killed, limited and watched."""

import json
import os
import resource
import subprocess
import sys
import time

from centernet.sample import SAMPLE_WEIGHTS

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCE = os.path.join(TESTS, os.pardir, 'src')
#: of the data set of these tests
IMAGES = 120
#: longer than any command here takes on a busy machine: what takes longer hangs
HANG_S = 300


def start(*words, largest_file=None, **options):
    """A ``centernet`` command as a process of its own; ``largest_file``: bytes after which writing to a file
    fails."""

    def limit():
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    environment = dict(os.environ, PYTHONPATH=SOURCE, OMP_NUM_THREADS='1')
    return subprocess.Popen(
        [sys.executable, '-m', 'centernet'] + [str(word) for word in words],
        env=environment,
        preexec_fn=limit,
        **dict({'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}, **options),
    )


def finish(process):
    """(status, stdout, stderr) of a command; one that hangs is killed, and the test fails."""
    try:
        out, err = process.communicate(timeout=HANG_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    return process.returncode, (out or b'').decode(), (err or b'').decode()


def wait_for(condition, process):
    """Wait until something is so, while a process lives; returns whether it lived."""
    deadline = time.time() + HANG_S
    while not condition():
        if process.poll() is not None:
            return False
        assert time.time() < deadline, 'it hangs'
        time.sleep(0.01)
    return True


def journal_ids(folder):
    """The ids of the journal's images, in its order."""
    try:
        lines = (folder / 'journal.jsonl').read_bytes().split(b'\n')[1:-1]
    except FileNotFoundError:
        return []
    return [json.loads(line.decode())['image_id'] for line in lines]


def eval_pth(data, out, *words, **options):
    return start(
        'eval-pth',
        '--weights',
        SAMPLE_WEIGHTS,
        '--data',
        data,
        '--device',
        'cpu',
        '--no-progress',
        '--batch-size',
        '2',
        '--output',
        out,
        *words,
        **options,
    )


def leftovers(folder):
    return sorted(name for name in os.listdir(str(folder)) if name.endswith('.part') or name.startswith('.'))


def metrics(folder):
    return json.loads((folder / 'metrics.json').read_text())['metrics']
