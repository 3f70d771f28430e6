"""A worker process is killed at any moment, as the kernel does when memory runs out; the run never hangs."""

import json
import os
import random
import re
import signal
import time

import pytest
from support.processes import IMAGES, eval_pth, finish, journal_ids, metrics, wait_for

from centernet.cli import main
from centernet.system.processes import ProcessError, ordered_map


def children(pid):
    try:
        with open(f'/proc/{pid}/task/{pid}/children') as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return []


@pytest.mark.slow
def test_eval_pth_names_the_batch_and_can_be_resumed(sample_like_data, whole, tmp_path):
    out, draw = tmp_path / 'out', random.Random(0)
    process = eval_pth(sample_like_data, out, '--workers', '2')
    assert wait_for(lambda: len(journal_ids(out)) >= 2, process)
    time.sleep(draw.random() * 0.1)
    os.kill(draw.choice(children(process.pid)), signal.SIGKILL)
    status, _, err = finish(process)
    assert 'Traceback' not in err
    assert status == 1, err
    found = re.search(r'signal 9.* batch (\d+) of 60 \(images (\d+), (\d+)\)', err)
    assert found, err
    number, first, second = map(int, found.groups())
    ids = [
        image['id']
        for image in json.loads((sample_like_data / 'annotations' / 'instances_val2017.json').read_text())[
            'images'
        ]
    ]
    assert ids[2 * number - 2 : 2 * number] == [first, second]
    assert first not in journal_ids(out)
    assert '--resume' in err
    status, _, err = finish(eval_pth(sample_like_data, out, '--resume'))
    assert status == 0, err
    assert len(set(journal_ids(out))) == len(journal_ids(out)) == IMAGES
    assert metrics(out) == metrics(whole)


def kill_itself(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_metrics_that_are_cut_short_can_be_computed_again(tmp_path, monkeypatch, capsys):
    """A process of the metrics is killed; the images are finished all the same."""
    arguments = ['eval-pth', '--limit', '4', '--device', 'cpu', '--no-progress', '--output', str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr('centernet.coco.metrics._MANY', 1)
        patch.setattr('centernet.coco.metrics.available_cpus', lambda: 2)
        patch.setattr('cv2.getNumThreads', lambda: 2)
        patch.setattr('centernet.coco.metrics.evaluate_class', kill_itself)
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert 'computes the metrics was killed by signal 9' in error
        assert '4 images are finished' in error and '--resume' in error
        assert main([*arguments, '--resume', '--report']) == 1
    assert main([*arguments, '--resume', '--report']) == 0
    capsys.readouterr()
    monkeypatch.setattr('centernet.coco.metrics._MANY', 1)
    monkeypatch.setattr('centernet.coco.metrics.available_cpus', lambda: 2)
    monkeypatch.setattr('cv2.getNumThreads', lambda: 2)
    monkeypatch.setattr('centernet.coco.metrics.evaluate_class', kill_itself)
    assert main(['report', str(tmp_path), '--output', str(tmp_path / 'report')]) == 2
    assert 'computes the metrics of' in capsys.readouterr().err


class Slow:
    """Returns a large result, so that a worker is often killed while it writes."""

    def __call__(self, task):
        if task == 'die':
            os.kill(os.getpid(), signal.SIGKILL)
        if task == 'fail':
            raise KeyError('broken')
        return task, bytes(1 << 22)


def test_results_are_in_order():
    assert [task for task, _ in ordered_map(Slow(), list(range(20)), 3)] == list(range(20))
    assert list(ordered_map(Slow(), [], 3)) == []


@pytest.mark.parametrize('place', [0, 3])
def test_the_task_is_named(place):
    tasks = list('abcde')
    tasks[place] = 'die'
    done = []
    with pytest.raises(ProcessError, match='signal 9') as caught:
        for task, _ in ordered_map(Slow(), tasks, 2):
            done.append(task)
    assert (caught.value.task, done) == ('die', tasks[:place])


def test_an_exception_in_a_worker_is_shown():
    with pytest.raises(RuntimeError, match="KeyError: 'broken'"):
        list(ordered_map(Slow(), ['a', 'fail'], 1))


@pytest.mark.parametrize('seed', range(3))
def test_a_worker_killed_at_any_moment_never_hangs(seed):
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
