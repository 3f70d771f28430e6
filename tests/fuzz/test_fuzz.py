"""A short pass of every fuzz target; ``make fuzz`` goes on for longer. And that the harness finds what it is
for."""

import os
import subprocess
import sys

import pytest
from support.fuzzing import fuzz
from targets import NAMES


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_a_short_pass(name):
    outcome = fuzz(name, seed=0, seconds=600, most=100)
    assert [str(finding) for finding in outcome.findings] == []
    assert outcome.cases == 100
    assert outcome.refused > 50


def test_the_same_cases_come_again():
    first, second = (fuzz('annotations', seed=3, seconds=300, most=30) for _ in range(2))
    assert first == second
    assert first.cases == 30


BROKEN = """
import os, sys
NAME = 'broken'
prepare = lambda folder: None
make = lambda draw, folder, canary: canary
allowance = lambda case: 1 << 26
def run(case):
    if sys._getframe(1).f_locals['limits'] is not None:
        {}
"""


@pytest.mark.parametrize(
    'wrong, said',
    [
        ('raise KeyError("axis")', 'KeyError'),
        ('os.kill(os.getpid(), 11)', 'ended with status -11'),
        ('bytes(1 << 28)', 'more memory'),
        ('os.mkdir(case)', 'code from the input ran'),
        ('import time; time.sleep(1000)', 'hangs'),
    ],
)
def test_what_is_wrong_is_found(tmp_path, monkeypatch, wrong, said):
    from support import fuzzing

    (tmp_path / 'fuzz_broken.py').write_text(BROKEN.format(wrong))
    (tmp_path / 'sitecustomize.py').write_text(f'import sys; sys.path.append({str(tmp_path)!r})')
    monkeypatch.setattr(fuzzing, 'CASE_SECONDS', 3)
    monkeypatch.setattr(fuzzing, 'SOURCE', os.pathsep.join([fuzzing.SOURCE, str(tmp_path)]))
    outcome = fuzz('broken', seed=0, seconds=200, most=1)
    assert len(outcome.findings) == 1
    assert said in str(outcome.findings[0])


@pytest.mark.slow
def test_the_command_says_what_it_did():
    run = subprocess.run(
        [sys.executable, os.path.dirname(__file__), '--target', 'annotations', '--seconds', '3'],
        stdout=subprocess.PIPE,
        timeout=300,
    )
    assert run.returncode == 0
    assert b' cases, ' in run.stdout
