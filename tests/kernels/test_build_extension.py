"""The build of the operator: its compilers, and what remains if compiling for CUDA fails."""

import glob
import importlib.util
import os
import shutil
import stat
import subprocess
import sys

import pytest
import torch

from centernet.kernels import build_extension
from centernet.kernels.build_extension import (
    CannotBuild,
    check_compiler,
    extension_name,
    find_toolkit,
    nvcc_flags,
)


def program(path, text):
    """Write an executable that prints ``text``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\ncat <<"END"\n{text}\nEND\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_every_build_of_torch_has_its_own_module():
    names = [extension_name(version) for version in ('1.0.0', '2.13.0', '2.13.0+cpu', '2.14.1+cu130')]
    assert len(set(names)) == 4
    assert all(name.isidentifier() for name in names)


def test_compilers(tmp_path):
    check_compiler(program(tmp_path / 'g++', ''))
    with pytest.raises(CannotBuild, match='no-such-compiler'):
        check_compiler('no-such-compiler')


def toolkit(folder, version):
    program(folder / 'bin' / 'nvcc', f'Cuda compilation tools, release {version}, V{version}.130')
    return str(folder)


@pytest.mark.parametrize(
    'torch_cuda, version, fits',
    [
        ('10.0.130', '10.0', True),
        ('10.0.130', '10.2', False),  # compiles, but would load a second CUDA runtime
        ('12.6', '13.0', False),
        ('12.6', '12.1', True),
        ('13.0', 'unknown', False),
    ],
)
def test_the_version_of_the_toolkit(tmp_path, torch_cuda, version, fits):
    home = toolkit(tmp_path, version)
    if fits:
        assert find_toolkit(torch_cuda, home) == (home, tuple(map(int, version.split('.'))))
        return
    with pytest.raises(CannotBuild, match=r'nvcc is CUDA .*torch is built for ' + torch_cuda[:4]):
        find_toolkit(torch_cuda, home)


def test_a_toolkit_of_python_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'path', [*sys.path, str(tmp_path)])
    home = toolkit(tmp_path / 'nvidia' / 'cu99', '99.0')
    assert find_toolkit('99.0', None) == (home, (99, 0))
    with pytest.raises(CannotBuild, match=r'no nvcc .* CUDA 98\.0'):
        find_toolkit('98.0', str(tmp_path))


def test_a_script_that_starts_nvcc_is_not_the_toolkit(tmp_path):
    toolkit(tmp_path, '99.0')
    home = toolkit(tmp_path / 'cuda', '99.0')
    (tmp_path / 'cuda' / 'include').mkdir()
    (tmp_path / 'cuda' / 'include' / 'cuda_runtime_api.h').write_text('')
    assert find_toolkit('99.0', str(tmp_path)) == (home, (99, 0))


def test_options_of_nvcc():
    assert nvcc_flags((13, 0), ' ', '/usr/bin/g++-12 -m64') == [
        *['-O3', '-ccbin', '/usr/bin/g++-12'],
        '-arch=all-major',
    ]
    assert nvcc_flags((12, 1), '7.5;8.6+PTX') == ['-O3']  # torch adds them
    for version, last in (((9, 0), '70'), ((10, 0), '70')):
        codes = [flag.split(',code=')[1] for flag in nvcc_flags(version)[1:]]
        assert codes[:4] == ['sm_35', 'sm_50', 'sm_60', 'sm_70']
        assert codes[-2:] == ['sm_' + last, 'compute_' + last]


#: an extension that includes nothing of torch, so that it compiles in a second
SOURCE = r"""#include <Python.h>
#ifndef DCN_WITHOUT_CUDA
#define DCN_WITHOUT_CUDA ""
#endif
#define MODULE(name) PyInit_##name
#define INIT(name) MODULE(name)
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "operator", nullptr, -1, nullptr};
PyMODINIT_FUNC INIT(TORCH_EXTENSION_NAME)() {
  PyObject* module = PyModule_Create(&definition);
  PyModule_AddStringConstant(module, "why_no_cuda", DCN_WITHOUT_CUDA);
  return module;
}
"""
#: Fails as named in $FAILS. Its object files come from the C++ compiler.
NVCC = r"""#!/bin/bash
case "$FAILS:$*" in
    *:--version) echo "Cuda compilation tools, release 13.0, V13.0.88" && exit ;;
    cuda.cu:*cuda.cu*) echo "$FAILS: error: it is too hard" && exit 1 ;;
esac
while [ "$1" != -o ]; do shift; done
exec g++ -x c++ -c /dev/null -o "$2"
"""
#: setup.py with a torch that says it is built for CUDA
SETUP = """
import sys, warnings
warnings.simplefilter('ignore')
import torch
from torch.utils import cpp_extension
torch.version.cuda, cpp_extension.CUDA_HOME, sys.path[:0] = '13.0', {home!r}, [{dcn!r}]
import build_extension
from setuptools import setup
extension, command = build_extension.make_extension('.')
setup(
    name='operator', ext_modules=[extension], cmdclass={{'build_ext': command}},
    script_args=['build_ext', '--build-lib', 'out', '--build-temp', 'temp'],
)
"""


class Project:
    """A folder with a small operator, a CUDA toolkit that fails as told, and a setup.py."""

    def __init__(self, folder):
        self.folder = folder
        self.home = str(folder / 'toolkit')
        files = {
            'csrc/binding.cpp': SOURCE,
            'csrc/cuda.cu': '',
            'toolkit/lib64/libcudart.so': 'INPUT(-lno_such_part)',  # a script to the linker
            'toolkit/bin/nvcc': NVCC,
        }
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        (folder / 'toolkit' / 'bin' / 'nvcc').chmod(0o755)

    def build(self, fails='', **settings):
        """Return setup.py's exit status and output, and why the operator that it built has no CUDA."""
        script = SETUP.format(home=self.home, dcn=os.path.dirname(build_extension.__file__))
        hidden = ('CENTERNET_DCN', 'CUDA_HOME', 'CUDA_PATH', 'TORCH_CUDA_ARCH_LIST')
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        run = subprocess.run(
            [sys.executable, '-c', script],
            cwd=str(self.folder),
            env=dict(environment, CUDA_HOME=self.home, FAILS=fails, MAX_JOBS='1', **settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
        )
        built = glob.glob(str(self.folder / 'out' / 'centernet' / 'kernels' / '*.so'))
        reason = None
        if built:
            name = 'centernet.kernels.' + os.path.basename(built[0]).split('.')[0]
            specification = importlib.util.spec_from_file_location(name, built[0])
            reason = importlib.util.module_from_spec(specification).why_no_cuda
        return run.returncode, run.stdout, reason


@pytest.fixture
def project(tmp_path):
    if not sys.platform.startswith('linux') or shutil.which('g++') is None:
        pytest.skip('the operator is compiled with g++ on Linux, which this is not, or has not')
    return Project(tmp_path)


#: what goes wrong, and what is said
FAILURES = [
    (dict(fails='cuda.cu'), 'it is too hard'),
    pytest.param(dict(), 'cannot find', marks=pytest.mark.slow),  # by the linker
]
if not torch.__version__.startswith('1.0.'):  # which does not know the list
    FAILURES.append(pytest.param(dict(TORCH_CUDA_ARCH_LIST='Riva'), 'Riva', marks=pytest.mark.slow))


@pytest.mark.parametrize('settings, reason', FAILURES)
def test_the_operator_is_built_for_the_cpu_if_cuda_fails(project, settings, reason):
    status, printed, why_no_cuda = project.build(**settings)
    assert status == 0, printed
    assert 'compiling for CUDA fails' in why_no_cuda
    (line,) = [line for line in printed.splitlines() if line.startswith('compiled operator')]
    assert 'CPU only' in line and reason in printed


@pytest.mark.slow
@pytest.mark.parametrize('settings, reason', FAILURES)
def test_cuda_is_insisted_on(project, settings, reason):
    status, printed, why_no_cuda = project.build(CENTERNET_DCN='compiled', **settings)
    assert (status, why_no_cuda) == (1, None)
    assert reason in printed and 'compiling for CUDA fails' in printed


@pytest.mark.slow
def test_insisting_takes_a_toolkit_of_torchs_version(project):
    nvcc = project.folder / 'toolkit' / 'bin' / 'nvcc'
    nvcc.write_text(nvcc.read_text().replace('13.0', '12.6'))
    status, printed, why_no_cuda = project.build(CENTERNET_DCN='compiled')
    assert status == 0, printed
    assert 'CUDA 12.6' in why_no_cuda, 'that is no toolkit for this torch'
