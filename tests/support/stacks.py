"""The interpreters of the two stacks, and the skip for tests that need both."""

import glob
import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def find_python(stack):
    """Return the interpreter of a stack (``modern`` or ``pinned``), or None.

    CENTERNET_MODERN_PYTHON and CENTERNET_PINNED_PYTHON name them; the default is the Makefile's environments.
    """
    named = os.environ.get(f'CENTERNET_{stack.upper()}_PYTHON')
    if named:
        return named
    if (sys.version_info < (3, 7)) == (stack == 'pinned'):
        return sys.executable
    pattern = '.venv-pinned' if stack == 'pinned' else '.venv-3.*'
    found = glob.glob(os.path.join(ROOT, pattern, 'bin', 'python'))
    return sorted(found)[-1] if found else None


#: stack -> interpreter
PYTHONS = {stack: find_python(stack) for stack in ('modern', 'pinned')}

needs_both_stacks = pytest.mark.skipif(
    None in PYTHONS.values(),
    reason=(
        f'needs both stacks, found {PYTHONS}: run make venv and make venv PYTHON=python3.6, or set'
        ' CENTERNET_*_PYTHON'
    ),
)


def run(stack, *words):
    """Run a stack's interpreter on this source; return what it prints."""
    # one thread: on a busy machine, two that wait for each other take minutes
    environment = dict(os.environ, PYTHONPATH=os.path.join(ROOT, 'src'), OMP_NUM_THREADS='1')
    done = subprocess.run(
        [PYTHONS[stack]] + list(words),
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
