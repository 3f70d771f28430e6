"""The image with CUDA, on a machine without a GPU: the operator has both, a GPU is refused with a reason."""

import pytest
from support.engine import CUDA, call

pytestmark = pytest.mark.skipif(CUDA == 'none', reason='CUDA=none: this image has no CUDA')


def test_the_operator_is_compiled_for_both(settings, images):
    script = 'from centernet.kernels import compiled; print(compiled.description())'
    command = ['docker', 'run', '--rm', '--network', 'none', images[0], 'python', '-c', script]
    assert call(command, environment=settings).stdout.strip().endswith('and CUDA')


def test_the_cpu_is_used_and_the_reason_said(compose):
    run = compose.run('eval-pth', '--limit', '16', '--no-progress')
    assert 'no NVIDIA driver is loaded' in run.stderr and 'using the CPU' in run.stderr
    assert '\ndevice: cpu' in run.stdout


def test_a_gpu_is_refused_with_the_reason(compose):
    run = compose.run('eval-pth', '--device', 'cuda', '--limit', '16', '--no-progress', check=False)
    assert run.returncode == 2
    (line,) = [line for line in run.stderr.splitlines() if 'error' in line]
    assert 'no NVIDIA driver is loaded' in line and '--device cpu' in line
