"""How many threads a network gets, found out while it runs.

Several threads meet at the end of every layer. On cores of their own they are faster than one; where another process has one of
the cores, all wait for the thread that is not running, and they are slower than one, up to a hundred times for a network of
small layers (docs/threads.md). No fixed number is right on a machine that is shared, so the batches tell.
"""

_RETRY, _LONGEST_RETRY = 16, 256


class ThreadChooser:
    """Decides between one thread and ``threads``, batch by batch, by what the batches cost.

    The first two batches warm up the two settings, the next two compare them. From then on the faster one runs, and the other has
    a batch in 16 to show that things have changed; each time it loses badly, it waits twice as long for its next one.

    Args:
        threads: at least 2.
    """

    def __init__(self, threads: int) -> None:
        self.settings = (threads, 1)
        self.batches = dict.fromkeys(self.settings, 0)
        self._cost = {}
        self._count = 0
        self._interval = _RETRY
        self._next_try = 4 + _RETRY

    def choose(self) -> int:
        """The number of threads for the next batch."""
        if self._count < 4:
            return self.settings[self._count % 2]
        best = min(self.settings, key=self._cost.__getitem__)
        return self._other(best) if self._count >= self._next_try else best

    def report(self, threads: int, seconds: float, work: float) -> None:
        """What the batch cost that was run on ``threads`` threads; ``work`` is its size, such as the number of pixels."""
        cost = seconds / work
        self.batches[threads] += 1
        self._count += 1
        if self._count <= 2:
            return
        rival = self._cost.get(self._other(threads))
        if self._count > 4 and self._count > self._next_try:  # this one was a try
            lost = cost > 1.5 * rival
            self._interval = min(2 * self._interval, _LONGEST_RETRY) if lost else _RETRY
            self._next_try = self._count + self._interval
            self._cost[threads] = cost
        else:
            known = self._cost.get(threads)
            self._cost[threads] = cost if known is None else 0.7 * known + 0.3 * cost

    def _other(self, setting):
        return self.settings[1] if setting == self.settings[0] else self.settings[0]
