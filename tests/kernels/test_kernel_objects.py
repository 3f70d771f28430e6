"""What is compiled for one instruction set holds no code that others could run.

An inline function, or one from a template of the standard library, is in every object that uses it and does
not inline it. The linker keeps one of them: perhaps the one with instructions that the processor lacks.
"""

import os
import platform
import shutil
import subprocess

import pytest

from centernet.kernels.build_extension import FLAGS

SOURCES = os.path.join(os.path.dirname(__file__), *[os.pardir] * 2, 'src', 'centernet', 'kernels', 'csrc')
KERNELS = ('cpu_plain.cpp', 'cpu_avx2.cpp', 'cpu_avx512.cpp', 'cpu_bf16.cpp')
SHARED = '#include <algorithm>\nint larger(int a, int b) { return std::max(a, b); }\n'

pytestmark = pytest.mark.skipif(
    platform.machine() != 'x86_64' or None in map(shutil.which, ('g++', 'nm')),
    reason='needs g++ and nm on x86-64',
)


def shared_symbols(folder, source, flags):
    """Names of functions in the object of a source that other objects may have as well."""
    path = str(folder / 'object.o')
    subprocess.check_call(['g++', '-std=c++11', *flags, '-fPIC', '-c', str(source), '-o', path])
    lines = subprocess.check_output(['nm', '--defined-only', path], universal_newlines=True).splitlines()
    assert lines
    shared = [line.split()[2] for line in lines if line.split()[1] in 'WVu']
    return [name for name in shared if not name.startswith('DW.ref.')]  # a pointer, no code


@pytest.mark.parametrize('flags', [['-O0'], FLAGS], ids=['not-inlined', 'as-built'])
@pytest.mark.parametrize('name', KERNELS)
def test_nothing_is_shared(tmp_path, name, flags):
    assert shared_symbols(tmp_path, os.path.join(SOURCES, name), flags) == []


def test_it_would_be_found(tmp_path):
    (tmp_path / 'shared.cpp').write_text(SHARED)
    assert any('max' in name for name in shared_symbols(tmp_path, tmp_path / 'shared.cpp', ['-O0']))
