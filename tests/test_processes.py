"""Arrays of worker processes in shared memory: the same values, wherever they lie."""

import contextlib
import mmap
import os

import numpy as np
import pytest

from centernet.system import processes
from centernet.system.processes import ordered_map

MIB = 1 << 20


class Numbers:
    """task -> the task, and arrays of ``empty`` and of numpy that hold its numbers."""

    def __call__(self, task, empty=np.empty):
        shared = empty((3, task % 5 + 1, 1000), np.float32)
        second = empty(task % 7, np.int64)
        shared[:] = np.arange(1000) + task
        second[:] = task
        return task, {'all': shared, 'part': shared[1], 'second': [second], 'own': np.full(3, task)}


def check(results, tasks):
    for task, (number, arrays) in zip(tasks, results):
        assert number == task
        expected = np.broadcast_to(np.arange(1000, dtype=np.float32) + task, (3, task % 5 + 1, 1000))
        assert arrays['all'].dtype == np.float32
        np.testing.assert_array_equal(arrays['all'], expected)
        np.testing.assert_array_equal(arrays['part'], expected[1])
        assert arrays['second'][0].dtype == np.int64
        assert arrays['second'][0].tolist() == [task] * (task % 7)
        assert arrays['own'].tolist() == [task] * 3


@pytest.mark.parametrize('workers', [1, 2, 3])
@pytest.mark.parametrize('shared', [0, 100, 30000, MIB], ids=['none', 'too little', 'some', 'enough'])
def test_values_do_not_depend_on_where_they_lie(workers, shared):
    tasks = list(range(40))
    with contextlib.closing(ordered_map(Numbers(), tasks, workers, shared)) as results:
        check(results, tasks)


def is_shared(array):
    """Whether the memory of an array is a mapping."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return isinstance(getattr(array.base, 'obj', array.base), mmap.mmap)


def test_only_what_fits_is_shared():
    with contextlib.closing(ordered_map(Numbers(), [0, 4], 1, 12000 + 64)) as results:
        fits, too_large = (arrays for _, arrays in results)
        assert is_shared(fits['all']) and not is_shared(too_large['all'])
        assert not is_shared(fits['own']) and not is_shared(fits['part'])


def test_memory_that_cannot_be_shared_is_not_needed(monkeypatch):
    def refuse(*_):
        raise OSError(12, 'Cannot allocate memory')

    monkeypatch.setattr(processes.mmap, 'mmap', refuse)
    tasks = list(range(8))
    with contextlib.closing(ordered_map(Numbers(), tasks, 2, MIB)) as results:
        check(results, tasks)


def test_a_result_stays_while_it_is_used():
    """Workers that are far ahead must not write into the result in use."""
    tasks = list(range(0, 200, 5))
    with contextlib.closing(ordered_map(Numbers(), tasks, 2, MIB)) as results:
        for task, (_, arrays) in zip(tasks, results):
            for _ in range(3):
                os.sched_yield()
                assert arrays['all'][0, 0, 0] == task


def test_no_mapping_is_left():
    def mappings():
        with open('/proc/self/maps') as file:
            return sum('/dev/zero' in line for line in file)

    before = mappings()
    for _ in range(3):
        with contextlib.closing(ordered_map(Numbers(), list(range(6)), 2, MIB)) as results:
            next(results)
    del results
    assert mappings() == before
