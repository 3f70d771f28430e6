"""Other programs, several at a time, of which none can hold up or take down this one."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time


class Started:
    """A program that runs beside this one.

    Args:
        command: program and arguments.
        seconds: how long it may take from now on.

    Attributes:
        missing: there is no such program.
    """

    def __init__(self, command, seconds=60):
        self._output = tempfile.TemporaryFile()  # a pipe that nobody reads yet could fill up
        self._end = time.time() + seconds
        self._seconds = seconds
        self.missing = False
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT
            )
        except OSError:
            self._process, self.missing = None, True

    def finish(self):
        """Wait for it. Returns (what it printed, why it failed or None)."""
        if self._process is None:
            return '', 'there is no such program'
        try:
            status = self._process.wait(max(0, self._end - time.time()))
            failure = None if status == 0 else f'ended with status {status}'
            if status < 0:
                failure = f'ended by {signal.Signals(-status).name}'
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            failure = f'did not answer within {self._seconds} seconds'
        self._output.seek(0)
        return self._output.read().decode('utf-8', 'replace'), failure


class Probe:
    """:mod:`.probe` in a process of its own: ``words`` say what to try, and ``finish()`` returns what it
    said."""

    def __init__(self, *words):
        source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        # without the working directory, whose files might be called as modules are
        code = (
            f'import sys; sys.path = [path for path in sys.path if path] + [{source!r}]; from'
            ' centernet.doctor import probe; probe.main(sys.argv[1:])'
        )
        self._process = Started([sys.executable, '-W', 'ignore', '-c', code] + list(words))

    def finish(self):
        """(dict of what was found out, dict of what failed: name -> why).

        What was under way when the process died has failed, too. Where it could not even start, the name is
        ``start``.
        """
        text, failure = self._process.finish()
        found, failed, last = {}, {}, ''
        for line in text.splitlines():
            try:
                name, state, value = json.loads(line)
            except ValueError:
                last = line.strip() or last
                continue
            failed.pop(name, None)
            if state == 'found':
                found[name] = value
            else:
                failed[name] = value if state == 'failed' else failure or 'ended'
        if failure and not failed and not found:
            failed['start'] = '{}{}'.format(failure, ': ' + last if last else '')
        return found, failed
