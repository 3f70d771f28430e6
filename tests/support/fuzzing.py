"""Runs a fuzz target in a process of its own, under limits, and watches it: see ``python tests/fuzz --help``.

A case is made from (target, seed, number) alone, so a finding is repeated by its number. A case is fine when
the code under test returns or raises a UserError, within its time and memory. A finding is anything else:
another exception, a process that dies, hangs or takes more memory than the target allows, or a file that only
code from the input can have made.
"""

import os
import queue
import random
import resource
import subprocess
import sys
import threading
import time
import traceback
from typing import List, NamedTuple, Optional

from centernet.system.errors import UserError

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCE = os.path.join(TESTS, os.pardir, 'src')
#: a case that takes longer hangs
CASE_SECONDS = 60
#: of the processor; a shared machine may be slow at any moment
CASE_CPU_SECONDS = 10
MIB = 1 << 20


class Finding(NamedTuple):
    """What went wrong, and in which case."""

    target: str
    seed: int
    number: int
    what: str

    def __str__(self) -> str:
        return (
            f'{self.what} (repeat it: python tests/fuzz --target {self.target} --seed {self.seed} --only'
            f' {self.number})'
        )


class Outcome(NamedTuple):
    """Of a run: how many cases, how many of them were refused by an error of ours, and the findings."""

    cases: int
    refused: int
    findings: List[Finding]


def fuzz(
    target: str,
    seed: int,
    seconds: float,
    first: int = 0,
    most: Optional[int] = None,
    findings_at_most: int = 20,
) -> Outcome:
    """Run cases of a target until the time is over."""
    end, number, refused, findings = time.time() + seconds, first, 0, []
    while time.time() < end and len(findings) < findings_at_most and (most is None or number < first + most):
        count = -1 if most is None else first + most - number
        child = _Child(target, seed, number, count)
        try:
            while time.time() < end:
                line = child.line(CASE_SECONDS + (90 if child.starting else 0))
                if line is None:  # it ended, or hangs
                    break
                kind, _, text = line.partition(' ')
                if kind == 'case':
                    number = int(text)
                elif kind == 'refused':
                    refused += 1
                elif kind == 'found':
                    findings.append(Finding(target, seed, number, text))
                elif kind == 'done':
                    number += 1
            if line is None and not child.ended_well:
                findings.append(Finding(target, seed, number, child.how()))
                number += 1
        finally:
            child.close()
        if child.ended_well:
            break
    return Outcome(number - first, refused, findings)


class _Child:
    """The process that runs the cases; its lines say what it is at."""

    def __init__(self, target, seed, number, count):
        self.starting, self.ended_well, self._hung = True, False, False
        self._process = subprocess.Popen(
            [
                sys.executable,
                '-W',
                'ignore',
                os.path.join(TESTS, 'fuzz'),
                '--target',
                target,
                '--seed',
                str(seed),
                '--child',
                str(number),
                str(count),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=dict(os.environ, PYTHONPATH=SOURCE, OMP_NUM_THREADS='1', PYTHONFAULTHANDLER='1'),
        )
        self._lines, self._errors = queue.Queue(), []
        for stream, take in ((self._process.stdout, self._lines.put), (self._process.stderr, self._keep)):
            threading.Thread(target=_forward, args=(stream, take), daemon=True).start()

    def _keep(self, line):
        if line is not None:
            self._errors[:] = self._errors[-60:] + [line]

    def line(self, seconds):
        """The next line, None at its end or after so many seconds without one."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            self._hung = True
            return None
        self.starting = False
        self.ended_well = line == 'end'
        return None if self.ended_well else line

    def how(self):
        """Why it ended before its time, in words."""
        if self._hung:
            self._process.kill()
            return f'hangs: no answer in {CASE_SECONDS} s'
        status = self._process.wait()
        if self.starting:
            raise RuntimeError('the target does not start:\n' + '\n'.join(self._errors))
        fatal = [line for line in self._errors if 'atal' in line or 'what()' in line or '  File' in line]
        fatal = [] if any(line.startswith('Traceback') for line in self._errors) else fatal
        return 'the process ended with status {}: {}'.format(
            status, ' | '.join(fatal[:8] or self._errors[-4:])[:900]
        )

    def close(self):
        self._process.kill()
        self._process.wait()


def _forward(stream, take):
    with stream:
        for line in stream:
            take(line.decode('utf-8', 'replace').rstrip('\n'))
    take(None)


def run_cases(target, seed: int, number: int, count: int, folder: str) -> None:
    """In the child: run cases and say so; never returns where ``count`` is negative."""
    target.prepare(folder)
    for warm_up in range(4):
        _run(target, random.Random(f'warm-up {warm_up}'), folder, None)
    target.limit_memory = True
    while count:
        print('case', number, flush=True)
        text = _run(target, random.Random(f'{target.NAME} {seed} {number}'), folder, target)
        if text:
            print(text, flush=True)
        print('done', flush=True)
        number, count = number + 1, count - 1
    print('end', flush=True)


def _run(target, draw, folder, limits):
    """One case; returns what to say of it."""
    canary = os.path.join(folder, 'canary')
    case = target.make(draw, folder, canary)
    text, start = '', time.process_time()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if limits is not None:
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + target.allowance(case), hard))
    try:
        target.run(case)
    except UserError as error:
        text = 'refused'
        if _is_about_memory(error):
            text = f'found it takes more memory than allowed: {_short(error)}'
        elif len(str(error)) > 5000:
            text = f'found a message that is not short: {str(error)[:300]!r}'
    except MemoryError as error:
        text = f'found it takes more memory than allowed: {_short(error)}'
    except BaseException as error:
        text = f'found {_short(error)}'
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    if os.path.exists(canary):
        os.rmdir(canary)
        text = 'found that code from the input ran'
    if time.process_time() - start > CASE_CPU_SECONDS:
        text = f'found that it takes {time.process_time() - start:.0f} s'
    return text


def _is_about_memory(error):
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _short(error):
    places = [
        f'{os.path.basename(frame.filename)}:{frame.lineno}'
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return '{}: {} at {}'.format(
        type(error).__name__, ' '.join(str(error).split())[:300], ' '.join(places[-5:])
    )


def _address_space():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[0]) * resource.getpagesize()
