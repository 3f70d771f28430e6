"""Run commands in processes that tests can kill, limit and watch."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple

from centernet.sample import SAMPLE_WEIGHTS

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCE = os.path.join(TESTS, os.pardir, 'src')
#: number of images in the data set of these tests
IMAGES = 120
#: no command here takes longer, even on a busy machine: one that does is hanging
HANG_S = 300


def start(*words: Any, largest_file: Optional[int] = None, **options: Any) -> subprocess.Popen:
    """Start a ``centernet`` command; ``largest_file``: the maximum bytes of a file that it writes."""

    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    environment = dict(os.environ, PYTHONPATH=SOURCE, OMP_NUM_THREADS='1')
    return subprocess.Popen(
        [sys.executable, '-m', 'centernet'] + [str(word) for word in words],
        env=environment,
        preexec_fn=limit,
        **dict({'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}, **options),
    )


def finish(process: subprocess.Popen) -> Tuple[int, str, str]:
    """Return a command's (exit status, stdout, stderr); kill it and fail if it hangs."""
    try:
        out, err = process.communicate(timeout=HANG_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    return process.returncode, (out or b'').decode(), (err or b'').decode()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> bool:
    """Wait until a condition holds; return False if the process ends first."""
    deadline = time.time() + HANG_S
    while not condition():
        if process.poll() is not None:
            return False
        assert time.time() < deadline, 'the process hangs'
        time.sleep(0.01)
    return True


def journal_ids(folder: Path) -> List[int]:
    """Return the ids of the journal's images, in its order."""
    try:
        lines = (folder / 'journal.jsonl').read_bytes().split(b'\n')[:-1]
    except FileNotFoundError:
        return []
    entries = [json.loads(line.decode()) for line in lines]
    return [entry['image_id'] for entry in entries if 'image_id' in entry]


def eval_pth(data: Path, out: Path, *words: str, **options: Any) -> subprocess.Popen:
    """Start ``centernet eval-pth`` with the built-in checkpoint."""
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


def leftovers(folder: Path) -> List[str]:
    """Return the names of temporary files."""
    return sorted(name for name in os.listdir(str(folder)) if name.endswith('.part') or name.startswith('.'))


def metrics(folder: Path) -> dict:
    """Return the figures in metrics.json."""
    return json.loads((folder / 'metrics.json').read_text())['metrics']
