"""A loader process is killed, as the kernel does where memory runs out: at any moment, and never a hang."""

import json
import os
import random
import re
import signal
import time

import pytest
from support.processes import IMAGES, eval_pth, finish, journal_ids, metrics, wait_for

from centernet.evaluation.processes import ProcessError, ordered_map


def children(pid):
    try:
        with open(f'/proc/{pid}/task/{pid}/children') as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return []


@pytest.mark.parametrize('attempt', range(4))
def test_eval_pth_names_the_batch_and_goes_on(data, whole, tmp_path, attempt):
    out, draw = tmp_path / 'out', random.Random(attempt)
    process = eval_pth(data, out, '--workers', '2')
    assert wait_for(lambda: len(journal_ids(out)) >= 2, process)
    time.sleep(draw.random() * 0.1)
    os.kill(draw.choice(children(process.pid)), signal.SIGKILL)
    status, _, err = finish(process)
    assert 'Traceback' not in err
    assert status == 1, err
    found = re.search(
        r'a loader process was killed by signal 9 \(SIGKILL\) while it was at batch (\d+) of 60 \(images'
        r' (\d+), (\d+)\)',
        err,
    )
    assert found, err
    number, first, second = map(int, found.groups())
    ids = [
        image['id']
        for image in json.loads((data / 'annotations' / 'instances_val2017.json').read_text())['images']
    ]
    assert ids[2 * number - 2 : 2 * number] == [first, second]
    assert first not in journal_ids(out)
    assert '--resume' in err
    status, _, err = finish(eval_pth(data, out, '--resume'))
    assert status == 0, err
    assert len(set(journal_ids(out))) == len(journal_ids(out)) == IMAGES
    assert metrics(out) == metrics(whole)


class Slow:
    """Answers with a large array, so that a process is often killed while it writes."""

    def __call__(self, task):
        if task == 'die':
            os.kill(os.getpid(), signal.SIGKILL)
        if task == 'fail':
            raise KeyError('broken')
        return task, bytes(1 << 22)


@pytest.mark.parametrize('processes', [1, 3])
def test_results_come_in_order(processes):
    assert [task for task, _ in ordered_map(Slow(), list(range(20)), processes)] == list(range(20))
    assert list(ordered_map(Slow(), [], processes)) == []


@pytest.mark.parametrize('place', range(5))
def test_the_task_is_named(place):
    tasks = list('abcde')
    tasks[place] = 'die'
    done = []
    with pytest.raises(ProcessError, match=r'was killed by signal 9 \(SIGKILL\) at the task') as caught:
        for task, _ in ordered_map(Slow(), tasks, 2):
            done.append(task)
    assert (caught.value.task, done) == ('die', tasks[:place])


def test_an_error_in_a_process_is_shown():
    with pytest.raises(RuntimeError, match="KeyError: 'broken'"):
        list(ordered_map(Slow(), ['a', 'fail'], 1))


@pytest.mark.parametrize('seed', range(20))
def test_killed_at_any_moment_it_never_hangs(seed):
    draw = random.Random(seed)
    results = ordered_map(Slow(), list(range(200)), 2)
    for _ in range(draw.randrange(1, 6)):
        next(results)
    time.sleep(draw.random() * 0.01)
    before = time.time()
    victim = draw.choice(children(os.getpid()))
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(ProcessError):
        list(results)
    assert time.time() - before < 60
    assert not os.path.exists(f'/proc/{victim}')
