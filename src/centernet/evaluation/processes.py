"""Tasks shared out among processes, their results in order: :func:`ordered_map`.

torch's DataLoader does this too, but learns of a process that was killed by a signal's handler: the error is
raised wherever the parent happens to be, which may be inside the network, and torch 1.0.0 waits for ever
where the process was killed while it wrote. Here each process has a pipe of its own to write to, whose end is
seen as soon as the process ends, and no lock is shared.
"""

import multiprocessing
import os
import signal
import traceback
from typing import Any, Callable, Iterator, List

#: tasks that a process has been given and has not answered: one at work, one waiting
_AHEAD = 2
_PATIENCE_S = 5


class ProcessError(Exception):
    """A process ended before it had answered.

    ``task``: the task that it was at. ``how``: how it ended, in words.
    """

    def __init__(self, task: Any, how: str) -> None:
        super().__init__(f'a process {how} at the task {task!r}')
        self.task = task
        self.how = how


def ordered_map(function: Callable, tasks: List[Any], processes: int) -> Iterator[Any]:
    """``function(task)`` for every task, in order, computed ahead by other processes.

    Close the iterator (``contextlib.closing``) to end the processes where it is not run to its end. They also
    end when this process does, however it ends.

    Args:
        function: it, the tasks and its results can be pickled.
        tasks: what to compute.
        processes: how many, at least 1.

    Raises:
        ProcessError: a process ended by itself or was killed.
        RuntimeError: ``function`` raised; the text is the traceback of the process.
    """
    pool = []
    try:
        for _ in range(min(processes, len(tasks))):
            pool.append(_Process(function, tasks, [process.tasks for process in pool]))
        for number in range(min(_AHEAD * len(pool), len(tasks))):
            pool[number % len(pool)].send(number)
        for number, task in enumerate(tasks):
            process = pool[number % len(pool)]
            try:
                done, result = process.results.recv()
            except (EOFError, OSError):
                raise ProcessError(task, process.how_it_ended()) from None
            if not done:
                raise RuntimeError(result)
            if number + _AHEAD * len(pool) < len(tasks):
                process.send(number + _AHEAD * len(pool))
            yield result
    finally:
        for process in pool:
            process.end()


class _Process:
    """A process, with a pipe that numbers of tasks go into and one that results come out of."""

    def __init__(self, function, tasks, others):
        given, self.tasks = multiprocessing.Pipe(duplex=False)
        self.results, answers = multiprocessing.Pipe(duplex=False)
        # A forked process has the ends of the other pipes too; it closes them, so that each pipe ends with
        # its process.
        forked = multiprocessing.get_start_method() == 'fork'
        self._process = multiprocessing.Process(
            target=_work,
            daemon=True,
            args=(function, tasks, given, answers, others + [self.tasks, self.results] if forked else []),
        )
        self._process.start()
        given.close()
        answers.close()

    def send(self, number):
        """Give it a task's number; if it is gone, that shows when the result is awaited."""
        try:
            self.tasks.send(number)
        except OSError:
            pass

    def how_it_ended(self):
        self._process.join(_PATIENCE_S)
        code = self._process.exitcode
        if code is None:
            return 'closed its pipe'
        return f'ended with status {code}' if code >= 0 else f'was killed by {_signal_name(-code)}'

    def end(self):
        self.tasks.close()
        self.results.close()
        self._process.terminate()
        self._process.join(_PATIENCE_S)


def _work(function, tasks, given, answers, others):
    """What a process does: answer numbers of tasks until the pipe ends."""
    # Ctrl-C reaches every process of the terminal's group; the parent alone decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for connection in others:
        connection.close()
    try:
        while True:
            number = given.recv()
            try:
                answer = True, function(tasks[number])
            except Exception:
                answer = False, traceback.format_exc()
            answers.send(answer)
    except (EOFError, OSError):  # the parent needs no more, or is gone
        os._exit(0)


def _signal_name(number):
    try:
        return f'signal {number} ({signal.Signals(number).name})'
    except ValueError:
        return f'signal {number}'
