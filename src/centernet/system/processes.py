"""Compute a function in worker processes, with the results in order: :func:`ordered_map`.

Each worker writes to its own pipe, which closes as soon as the worker ends, and no lock is shared. Large
arrays go through memory that is mapped before the worker is forked: it has no name, so nothing is left behind
however the processes end. Why not:

- torch's DataLoader learns from a signal handler that a worker was killed. The error is raised wherever the
  parent happens to be, possibly inside the network. With torch 1.0.0 the parent hangs if the worker was
  killed while it wrote to the shared queue.
- ``concurrent.futures.ProcessPoolExecutor`` also notices a killed worker, but leaves orphans when the parent
  is killed: its workers hold both ends of the shared queue and wait forever.
- files in /dev/shm: containers have 64 MB of it.
"""

import io
import itertools
import mmap
import multiprocessing
import os
import pickle
import signal
import traceback
from multiprocessing.connection import Connection
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

#: unfinished tasks per worker: one in progress, one waiting
_AHEAD = 2
#: shared blocks per worker: for its unfinished tasks, and for the result in use
_BLOCKS = _AHEAD + 1
_JOIN_TIMEOUT_S = 5
#: arrays start at multiples of so many bytes, as those of numpy and torch
_ALIGNMENT = 64


class ProcessError(Exception):
    """A worker ended before it returned a result.

    ``task``: its task. ``how``: how it ended, in words.
    """

    def __init__(self, task: Any, how: str) -> None:
        super().__init__(f'a worker process {how} at the task {task!r}')
        self.task = task
        self.how = how


def ordered_map(function: Callable, tasks: List[Any], processes: int, shared_bytes: int = 0) -> Iterator[Any]:
    """Yield ``function(task)`` for every task, in order, computed ahead by worker processes.

    Close the iterator (``contextlib.closing``) to end the workers before it is exhausted. They also end when
    this process ends for any reason.

    Args:
        function: can be pickled, like the tasks and its results.
        tasks: the arguments.
        processes: number of workers, at least 1.
        shared_bytes: for the arrays of a result. If not 0, and if memory can be shared, the function is
            called with ``empty``, too: as ``numpy.empty``, but as far as there is room, its arrays lie in
            shared memory. Those in the result are not copied, and are **valid until the next result is asked
            for**.

    Raises:
        ProcessError: a worker ended or was killed.
        RuntimeError: ``function`` raised; the message is the worker's traceback.
    """
    pool = []
    try:
        for _ in range(min(processes, len(tasks))):
            pool.append(_Worker(function, tasks, [worker.tasks for worker in pool], shared_bytes))
        for number in range(min(_AHEAD * len(pool), len(tasks))):
            pool[number % len(pool)].send(number)
        for number, task in enumerate(tasks):
            worker = pool[number % len(pool)]
            try:
                succeeded, result = worker.receive()
            except (EOFError, OSError):
                raise ProcessError(task, worker.describe_end()) from None
            if not succeeded:
                raise RuntimeError(result)
            if number + _AHEAD * len(pool) < len(tasks):
                worker.send(number + _AHEAD * len(pool))
            yield result
    finally:
        for worker in pool:
            worker.end()


class _Worker:
    """A process with a pipe for the numbers of its tasks, and a pipe and shared blocks for its results."""

    def __init__(
        self, function: Callable, tasks: List[Any], inherited: List[Connection], shared_bytes: int
    ) -> None:
        numbers, self.tasks = multiprocessing.Pipe(duplex=False)
        self.results, answers = multiprocessing.Pipe(duplex=False)
        # A forked process inherits the parent's ends of all pipes. It closes them, so that each pipe ends
        # with the process at its other end.
        forked = multiprocessing.get_start_method() == 'fork'
        unused = inherited + [self.tasks, self.results] if forked else []
        # Used in turn. A task is sent when the result two tasks before it is received, and by then nobody
        # uses the result three tasks before it, which was in the same block.
        self._blocks = [_Block(shared_bytes if forked else 0) for _ in range(_BLOCKS)]
        self._received = 0
        self._process = multiprocessing.Process(
            target=_work, daemon=True, args=(function, tasks, numbers, answers, unused, self._blocks)
        )
        self._process.start()
        numbers.close()
        answers.close()

    def send(self, number: int) -> None:
        """Send the number of a task. A worker that is gone is noticed when its result is read."""
        try:
            self.tasks.send(number)
        except OSError:
            pass

    def receive(self) -> Tuple[bool, Any]:
        """Wait for the next result: whether the function returned, and its result or its traceback.

        Raises:
            EOFError, OSError: the worker is gone.
        """
        block = self._blocks[self._received % _BLOCKS]
        self._received += 1
        return block.load(self.results.recv_bytes())

    def describe_end(self) -> str:
        self._process.join(_JOIN_TIMEOUT_S)
        code = self._process.exitcode
        if code is None:
            return 'stopped answering'
        return f'ended with status {code}' if code >= 0 else f'was killed by signal {-code}'

    def end(self) -> None:
        self.tasks.close()
        self.results.close()
        self._process.terminate()
        self._process.join(_JOIN_TIMEOUT_S)


def _work(
    function: Callable,
    tasks: List[Any],
    numbers: Connection,
    answers: Connection,
    unused: List[Connection],
    blocks: List['_Block'],
) -> None:
    """Run in the worker: compute tasks until the pipe of their numbers is closed."""
    # Ctrl-C reaches every process of the terminal's group; only the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for connection in unused:
        connection.close()
    try:
        for turn in itertools.count():
            number = numbers.recv()
            block = blocks[turn % _BLOCKS]
            more = {'empty': block.empty} if block.size else {}
            try:
                answer = True, function(tasks[number], **more)
            except Exception:
                answer = False, traceback.format_exc()
            answers.send_bytes(block.dump(answer))
    except (EOFError, OSError):  # the parent has finished, or is gone
        os._exit(0)


class _Block:
    """Memory that a process shares with those forked from it, for the arrays of one result at a time.

    Args:
        size: in bytes, which the system provides as they are written to. The attribute is 0 if it refuses.
    """

    def __init__(self, size: int) -> None:
        self._memory: Optional[mmap.mmap] = None
        try:
            if size:
                self._memory = mmap.mmap(-1, size)
        except (OSError, OverflowError):  # a limit on memory, or no such size
            size = 0
        self.size = size
        self._used = 0
        self._given: Dict[int, Tuple[np.ndarray, int]] = {}

    def empty(self, shape: Sequence[int], dtype: Any = np.float64) -> np.ndarray:
        """Return an array of undefined content, in the block if it fits behind the others."""
        kind, start = np.dtype(dtype), self._used
        count = int(np.prod(shape, dtype=np.int64))
        end = start + count * kind.itemsize
        if end == start or end > self.size:
            return np.empty(shape, kind)
        array = self._at(start, shape, kind)
        self._given[id(array)] = array, start
        self._used = -(-end // _ALIGNMENT) * _ALIGNMENT
        return array

    def dump(self, result: Any) -> bytes:
        """Pickle a result without the arrays in the block, and start a new one."""
        file = io.BytesIO()
        pickler = _Pickler(file, pickle.HIGHEST_PROTOCOL)
        pickler.given = self._given
        pickler.dump(result)
        self._used, self._given = 0, {}
        return file.getvalue()

    def load(self, data: bytes) -> Any:
        """Return the result that another process dumped, with its arrays in the block."""
        unpickler = _Unpickler(io.BytesIO(data))
        unpickler.at = self._at
        return unpickler.load()

    def _at(self, start: int, shape: Sequence[int], kind: np.dtype) -> np.ndarray:
        return np.ndarray(shape, kind, self._memory, start)


class _Pickler(pickle.Pickler):
    """``given``: id -> (array, start in the block)."""

    given: Dict[int, Tuple[np.ndarray, int]]

    def persistent_id(self, item: Any) -> Optional[Tuple[int, Sequence[int], np.dtype]]:
        array, start = self.given.get(id(item), (None, 0))
        return None if array is None else (start, array.shape, array.dtype)


class _Unpickler(pickle.Unpickler):
    """``at``: (start, shape, dtype) -> the array in the block."""

    at: Callable

    def persistent_load(self, place: Tuple[int, Sequence[int], np.dtype]) -> np.ndarray:
        return self.at(*place)
