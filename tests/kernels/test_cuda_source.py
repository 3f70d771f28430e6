"""The operator's CUDA source, run on the CPU under sanitizers (cuda_shim/README.md), and compiled by nvcc."""

import json
import os
import platform
import subprocess
import sys

import pytest
import torch

from centernet.kernels.build_extension import CannotBuild, find_toolkit, nvcc_flags

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SHIM = os.path.join(HERE, 'cuda_shim')
CUDA_SOURCE = os.path.join(ROOT, 'src', 'centernet', 'kernels', 'csrc', 'cuda.cu')

pytestmark = pytest.mark.slow
once = pytest.mark.skipif(
    torch.__version__.startswith('1.0.'), reason='does not depend on torch; runs on the modern stack'
)


def run(command, **variables):
    environment = dict(os.environ, PYTHONPATH=os.path.join(ROOT, 'src'), OMP_NUM_THREADS='1', **variables)
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
    )


@pytest.fixture(scope='module')
def asan():
    """The library that a process with a sanitized extension has to load first."""
    if not sys.platform.startswith('linux') or platform.machine() != 'x86_64':
        pytest.skip('the headers in place of CUDA are for x86-64 Linux')
    with open('/proc/cpuinfo') as file:
        if ' f16c ' not in file.read():
            pytest.skip('this processor cannot convert float16 (F16C)')
    try:
        path = run(['g++', '-print-file-name=libasan.so']).stdout.strip()
    except OSError:
        pytest.skip('there is no g++')
    if not os.path.isabs(path):
        pytest.skip('this g++ has no AddressSanitizer (libasan)')
    return path


@pytest.fixture(scope='module')
def folder(asan, tmp_path_factory):
    """The libraries of the real source."""
    folder = tmp_path_factory.mktemp('cuda')
    build(folder)
    return folder


def build(folder, *source):
    built = run([sys.executable, os.path.join(SHIM, 'build.py'), str(folder), *source])
    assert built.returncode == 0, built.stderr[-4000:]


def check(library, asan):
    return run(
        [sys.executable, os.path.join(SHIM, 'check.py'), str(library)],
        LD_PRELOAD=asan,
        ASAN_OPTIONS='detect_leaks=0',  # Python's own
        UBSAN_OPTIONS='halt_on_error=1',
    )


@pytest.mark.parametrize('architecture', [350, 600])
def test_the_cuda_source_on_the_cpu(asan, folder, architecture):
    checked = check(folder / f'cuda_{architecture}.so', asan)
    assert checked.returncode == 0, checked.stderr[-4000:]
    assert 'runtime error' not in checked.stderr
    taken = json.loads(checked.stdout.splitlines()[-1])
    compared = taken['compared']
    assert compared['torch.float32'] == compared['torch.float64'] == 90
    assert compared['torch.float16'] == (90 if hasattr(torch, 'bfloat16') else 0)
    assert min(taken['narrow'], taken['wide']) > 1000 and taken['most_steps'] > 1


@once
@pytest.mark.parametrize(
    'old, new, words',
    [
        # a pixel far behind the last one
        ('item<I, T>(columns, i);', 'item<I, T>(columns, i + 100000);', 'AddressSanitizer'),
        # half of the work
        ('i += step)', 'i += 2 * step)', 'differs by'),
        # sums that lose what another thread added at the same time
        ('seen = atomicCAS(bits, expected, ', 'seen = expected, *bits = (', 'differs by'),
    ],
)
def test_an_error_in_the_source_is_found(asan, folder, old, new, words):
    source = folder / 'changed.cu'
    with open(CUDA_SOURCE) as file:
        text = file.read()
    assert text.count(old) == 1
    source.write_text(text.replace(old, new))
    build(folder, str(source))
    checked = check(folder / 'changed_350.so', asan)
    assert checked.returncode != 0 and words in checked.stderr, checked.stderr[-2000:]


def toolkit():
    """A CUDA toolkit of whatever version, and that version; cuda.cu includes nothing of torch."""
    for version in (torch.version.cuda, '13.0', '12.0', '11.0', '10.0'):
        try:
            return find_toolkit(version or '0', os.environ.get('CUDA_HOME', '/usr/local/cuda'))
        except CannotBuild:
            continue
    pytest.skip('no nvcc in CUDA_HOME, /usr/local/cuda or the Python packages')


@once
def test_nvcc_compiles_it_for_every_architecture(tmp_path):
    home, version = toolkit()
    flags, target = nvcc_flags(version), str(tmp_path / 'cuda.o')
    compiled = run([os.path.join(home, 'bin', 'nvcc'), '-std=c++14', '-c', CUDA_SOURCE, '-o', target, *flags])
    assert compiled.returncode == 0, compiled.stderr
    assert compiled.stderr == '', 'a warning'
