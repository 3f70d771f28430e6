"""Which implementation of the deformable convolution runs, and what is said about it."""

import os
import subprocess
import sys

import pytest
import torch

from centernet.kernels import compiled
from centernet.kernels.functional import choose_implementation
from centernet.kernels.reference import deform_conv2d_reference
from centernet.system.errors import OptionError

if compiled.MISSING:
    pytest.skip('the compiled operator is missing: ' + compiled.MISSING, allow_module_level=True)

CALL = """
import torch
from centernet.kernels import deform_conv2d, functional
x, w, o = torch.ones(1, 1, 3, 3), torch.ones(1, 1, 1, 1), torch.zeros(1, 2, 3, 3)
print(functional.choose_implementation(x).__name__)
for _ in range(2): deform_conv2d(x, o, x, w)
"""
BLOCK = 'import sys; sys.modules["centernet.kernels.{}"] = None'.format(
    compiled.extension_name(torch.__version__)
)


def run_in_a_new_process(code):
    """Return the exit status, and the output with warnings."""
    run = subprocess.run(
        [sys.executable, '-c', code],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path), CENTERNET_DCN=''),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    return run.returncode, run.stdout


@pytest.mark.parametrize(
    'choice, expected',
    [
        ('compiled', compiled.deform_conv2d_compiled),
        ('', compiled.deform_conv2d_compiled),
        ('reference', deform_conv2d_reference),
    ],
)
def test_the_environment_chooses(monkeypatch, choice, expected):
    monkeypatch.setenv('CENTERNET_DCN', choice)
    assert choose_implementation(torch.ones(1, 1, 3, 3)) is expected


def test_an_invalid_choice(monkeypatch):
    monkeypatch.setenv('CENTERNET_DCN', 'fast')
    with pytest.raises(OptionError, match=r"CENTERNET_DCN.*'fast'.*compiled or reference"):
        choose_implementation(torch.ones(1, 1, 3, 3))


def test_a_forced_operator_that_does_not_support_the_input(monkeypatch):
    monkeypatch.setenv('CENTERNET_DCN', 'compiled')
    with pytest.raises(OptionError, match=r'CENTERNET_DCN=compiled.*float16'):
        choose_implementation(torch.ones(1, 1, 3, 3).half())


def test_the_fallback_is_reported_once():
    status, output = run_in_a_new_process(BLOCK + CALL)
    assert status == 0, output
    assert 'deform_conv2d_reference' in output
    assert output.count('in plain torch') == 1 and 'is not built for torch' in output


def test_a_forced_operator_that_is_missing_is_an_error():
    status, output = run_in_a_new_process(
        BLOCK + '; import os; os.environ["CENTERNET_DCN"] = "compiled"' + CALL
    )
    assert status != 0
    assert 'OptionError: CENTERNET_DCN=compiled' in output
