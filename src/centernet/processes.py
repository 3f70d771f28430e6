"""Compute a function in worker processes, with the results in order: :func:`ordered_map`.

Each worker writes to its own pipe, which closes as soon as the worker ends, and no lock is shared. Why not:

- torch's DataLoader learns from a signal handler that a worker was killed. The error is raised wherever the
  parent happens to be, possibly inside the network. With torch 1.0.0 the parent hangs if the worker was
  killed while it wrote to the shared queue.
- ``concurrent.futures.ProcessPoolExecutor`` also notices a killed worker, but leaves orphans when the parent
  is killed: its workers hold both ends of the shared queue and wait forever.
"""

import multiprocessing
import os
import signal
import traceback
from multiprocessing.connection import Connection
from typing import Any, Callable, Iterator, List

#: unfinished tasks per worker: one in progress, one waiting
_AHEAD = 2
_JOIN_TIMEOUT_S = 5


class ProcessError(Exception):
    """A worker ended before it returned a result.

    ``task``: its task. ``how``: how it ended, in words.
    """

    def __init__(self, task: Any, how: str) -> None:
        super().__init__(f'a worker process {how} at the task {task!r}')
        self.task = task
        self.how = how


def ordered_map(function: Callable, tasks: List[Any], processes: int) -> Iterator[Any]:
    """Yield ``function(task)`` for every task, in order, computed ahead by worker processes.

    Close the iterator (``contextlib.closing``) to end the workers before it is exhausted. They also end when
    this process ends for any reason.

    Args:
        function: can be pickled, like the tasks and its results.
        tasks: the arguments.
        processes: number of workers, at least 1.

    Raises:
        ProcessError: a worker ended or was killed.
        RuntimeError: ``function`` raised; the message is the worker's traceback.
    """
    pool = []
    try:
        for _ in range(min(processes, len(tasks))):
            pool.append(_Worker(function, tasks, [worker.tasks for worker in pool]))
        for number in range(min(_AHEAD * len(pool), len(tasks))):
            pool[number % len(pool)].send(number)
        for number, task in enumerate(tasks):
            worker = pool[number % len(pool)]
            try:
                succeeded, result = worker.results.recv()
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
    """A process with a pipe for the numbers of its tasks and a pipe for its results."""

    def __init__(self, function: Callable, tasks: List[Any], inherited: List[Connection]) -> None:
        numbers, self.tasks = multiprocessing.Pipe(duplex=False)
        self.results, answers = multiprocessing.Pipe(duplex=False)
        # A forked process inherits the parent's ends of all pipes. It closes them, so that each pipe ends
        # with the process at its other end.
        forked = multiprocessing.get_start_method() == 'fork'
        unused = inherited + [self.tasks, self.results] if forked else []
        self._process = multiprocessing.Process(
            target=_work, daemon=True, args=(function, tasks, numbers, answers, unused)
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

    def describe_end(self) -> str:
        self._process.join(_JOIN_TIMEOUT_S)
        code = self._process.exitcode
        if code is None:
            return 'closed its pipe'
        return f'ended with status {code}' if code >= 0 else f'was killed by {_signal_name(-code)}'

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
) -> None:
    """Run in the worker: compute tasks until the pipe of their numbers is closed."""
    # Ctrl-C reaches every process of the terminal's group; only the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for connection in unused:
        connection.close()
    try:
        while True:
            number = numbers.recv()
            try:
                answer = True, function(tasks[number])
            except Exception:
                answer = False, traceback.format_exc()
            answers.send(answer)
    except (EOFError, OSError):  # the parent has finished, or is gone
        os._exit(0)


def _signal_name(number: int) -> str:
    try:
        return f'signal {number} ({signal.Signals(number).name})'
    except ValueError:
        return f'signal {number}'
