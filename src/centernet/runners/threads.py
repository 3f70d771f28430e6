"""How many threads a network gets, found out while it runs.

Several threads meet at the end of every layer. On cores of their own they are faster than one; where another
process has one of the cores, all wait for the thread that is not running, and they are slower than one, up to
a hundred times for a network of small layers (docs/threads.md). No fixed number is right on a machine that is
shared, so the batches tell.
"""

#: after how many batches the slower setting gets another try: at first, and at the latest
_FIRST_RETRY, _LAST_RETRY = 4, 128


class ThreadChooser:
    """Decides between one thread and ``threads``, batch by batch, by what the batches cost.

    The first two batches warm up the two settings, the next two compare them. From then on the faster one
    runs, and the other is given a batch now and then: after 4, and each time that it loses after twice as
        many as the time before, up to 128.

    Args:
        threads: at least 2.
    """

    def __init__(self, threads: int) -> None:
        self.settings = (threads, 1)
        self.batches = dict.fromkeys(self.settings, 0)
        self._cost = {}
        self._count = 0
        self._interval = _FIRST_RETRY
        self._next_try = 4 + _FIRST_RETRY

    def choose(self) -> int:
        """The number of threads for the next batch."""
        if self._count < 4:
            return self.settings[self._count % 2]
        best = min(self.settings, key=self._cost.__getitem__)
        return self._other(best) if self._count >= self._next_try else best

    def report(self, threads: int, seconds: float, work: float) -> None:
        """What the batch cost that was run on ``threads`` threads; ``work`` is its size, such as the number
        of pixels."""
        cost = seconds / work
        self.batches[threads] += 1
        self._count += 1
        if self._count <= 2:
            return
        is_try = self._count > self._next_try
        known = self._cost.get(threads)
        self._cost[threads] = cost if known is None or is_try else 0.7 * known + 0.3 * cost
        if is_try:
            won = cost < self._cost[self._other(threads)]
            self._interval = _FIRST_RETRY if won else min(2 * self._interval, _LAST_RETRY)
            self._next_try = self._count + self._interval

    def _other(self, setting):
        return self.settings[1] if setting == self.settings[0] else self.settings[0]
