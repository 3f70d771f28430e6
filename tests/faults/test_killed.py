"""kill -9 at random moments, and then the same command again."""

import json
import os
import random
import signal
import time

import pytest
from support.processes import (
    HANG_S,
    IMAGES,
    eval_pth,
    finish,
    journal_ids,
    leftovers,
    metrics,
    start,
    wait_for,
)


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=HANG_S)


@pytest.mark.slow
def test_eval_pth_killed_again_and_again(sample_like_data, whole, tmp_path):
    out, draw, kills = tmp_path / 'out', random.Random(6), 0
    for _ in range(60):
        images = min(IMAGES, len(journal_ids(out)) + draw.randrange(0, 50))
        process = eval_pth(sample_like_data, out, '--resume', '--workers', draw.choice('012'))
        alive = wait_for(lambda images=images: len(journal_ids(out)) >= images, process)
        time.sleep(draw.random() * 0.05)
        if alive and process.poll() is None:
            kill(process)
            kills += 1
            ids = journal_ids(out)
            assert len(set(ids)) == len(ids)
            for name in ('results.json', 'metrics.json'):  # complete or missing
                assert not (out / name).exists() or json.loads((out / name).read_text())
            if kills < 6:
                continue
        break
    assert kills >= 3
    status, _, err = finish(eval_pth(sample_like_data, out, '--resume'))
    assert status == 0, err
    ids = journal_ids(out)
    assert (len(ids), len(set(ids))) == (IMAGES, IMAGES), 'an image was evaluated twice'
    assert (out / 'results.json').read_bytes() == (whole / 'results.json').read_bytes()
    assert metrics(out) == metrics(whole)
    assert leftovers(out) == []


def test_the_worker_processes_end_with_a_killed_run(sample_like_data, tmp_path):
    process = eval_pth(sample_like_data, tmp_path / 'out', '--workers', '2')
    assert wait_for(lambda: len(journal_ids(tmp_path / 'out')) > 3, process)
    with open(f'/proc/{process.pid}/task/{process.pid}/children') as file:
        children = file.read().split()
    assert len(children) >= 2
    kill(process)
    deadline = time.time() + 60
    while any(os.path.exists(f'/proc/{child}') and not _is_zombie(child) for child in children):
        assert time.time() < deadline, 'a worker process outlives its run'
        time.sleep(0.05)


def _is_zombie(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rsplit(')', 1)[1].split()[0] in 'ZX'
    except FileNotFoundError:
        return True


@pytest.mark.slow
def test_export_killed_again_and_again(tmp_path):
    """Every file with its final name is complete: equal to that of an undisturbed run, byte for byte."""
    words = ['export', '--target', 'all', '--output']
    status, _, err = finish(start(*(words + [tmp_path / 'whole'])))
    assert status == 0, err
    expected = {path.name: path.read_bytes() for path in (tmp_path / 'whole').iterdir()}
    out, draw, seen = tmp_path / 'out', random.Random(7), set()
    out.mkdir()
    for attempt in range(4):
        process = start(*(words + [out]))
        # some kills are to hit a write: wait for a temporary file or the next finished one
        wait_for(lambda: any(name not in seen for name in os.listdir(str(out))), process)
        time.sleep(draw.random() * 0.02 * attempt)
        if process.poll() is None:
            kill(process)
        names = os.listdir(str(out))
        seen.update(names)
        for name in names:
            if not name.endswith('.part'):
                assert (out / name).read_bytes() == expected[name], name
    assert seen
    assert finish(start(*(words + [out])))[0] == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == expected
