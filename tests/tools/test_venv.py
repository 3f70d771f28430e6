"""tools/venv.sh with a Python that only records what it is asked to install."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NEEDS_NO_DRIVER = pytest.mark.skipif(
    os.path.exists('/proc/driver/nvidia/version'), reason='this machine has an NVIDIA driver'
)
#: Answers for every interpreter, the one that is given and those of the environments. REFUSE: pip calls that
#: fail. KILL: the pip call at which everything is killed.
PYTHON = r"""#!/bin/bash
case $* in
    *sys.version_info*) echo "${VERSION:-3.11} /usr/bin/python ${VERSION:-3.11}.7" ;;
    *fcntl*) exec {python} "$@" ;;
    *extension_name*) echo _torch_2_13_0 ;;
    '-m venv '*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *urlopen*) echo "asked $*" >>"$CALLS" && [ -n "${INDEX_ANSWERS:-}" ] ;;
    '-m pip install'*)
        sleep "${SECONDS_EACH:-0}"
        if [[ ${!#} == *torch-cpu.txt ]]; then grep -o 'torch==.*+cpu' "${!#}" >>"$CALLS"; fi
        echo "$*" >>"$CALLS"
        if [[ -n ${KILL:-} && $* =~ $KILL ]]; then kill -KILL 0; fi
        if [[ -n ${REFUSE:-} && $* =~ $REFUSE ]]; then echo 'pip says no' && exit 1; fi
        ;;
esac
"""


def program(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


class Checkout:
    """A copy of what tools/venv.sh reads, with the fake Python."""

    def __init__(self, folder):
        self.folder = folder / 'checkout'
        for name in ('requirements', 'patches/torch-1.0.0', 'src/centernet/kernels/csrc'):
            shutil.copytree(os.path.join(ROOT, name), str(self.folder / name))
        (self.folder / 'tools').mkdir()
        build = 'src/centernet/kernels/build_extension.py'
        for name in ('tools/venv.sh', 'setup.py', 'setup.cfg', 'pyproject.toml', build):
            shutil.copy(os.path.join(ROOT, name), str(self.folder / name))
        program(self.folder / 'patches' / 'torch-1.0.0' / 'apply.sh', '#!/bin/sh\n')
        self.bin = folder / 'bin'
        self.bin.mkdir()
        program(self.bin / 'patch', '#!/bin/sh\n')
        self.calls_file = folder / 'calls'
        self.python = program(folder / 'python', PYTHON.replace('{python}', sys.executable))

    def start(self, *words, **settings):
        settings.setdefault('CALLS', str(self.calls_file))
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ('TORCH_INDEX', 'CENTERNET_DCN', 'CUDA_HOME', 'TORCH_CUDA_ARCH_LIST', 'CXX')
        }
        environment.update(settings, PATH=str(self.bin) + os.pathsep + environment['PATH'])
        return subprocess.Popen(
            [str(self.folder / 'tools' / 'venv.sh'), self.python, *words],
            env=environment,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )

    def run(self, *words, **settings):
        """Return (exit status, the printed path, stderr, what pip was asked for)."""
        self.calls_file.write_text('')
        process = self.start(*words, **settings)
        out, err = process.communicate()
        return process.returncode, out.strip(), err, self.calls()

    def calls(self):
        return self.calls_file.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def installs(calls, name):
    return [call for call in calls if name in call]


@pytest.mark.parametrize(
    'version, purpose, folder, lock',
    [
        ('3.6', 'stack', '.venv-pinned', 'requirements/pinned-source.txt'),
        ('3.9', 'stack', '.venv-3.9', 'requirements/modern.txt'),
        ('3.13', 'stack', '.venv-3.13', 'requirements/modern-test.txt'),
        ('3.11', 'oracle', '.venv-oracle', 'requirements/oracle-torch.txt'),
        ('3.11', 'lint', '.venv-lint', 'requirements/lint.txt'),
        ('3.11', 'browser', '.venv-browser', 'requirements/browser.txt'),
    ],
)
def test_an_environment_is_made_once(checkout, version, purpose, folder, lock):
    status, path, err, calls = checkout.run(purpose, VERSION=version)
    assert (status, path) == (0, str(checkout.folder / folder)), err
    assert installs(calls, lock)
    assert bool(installs(calls, '-e .')) == (purpose in ('stack', 'oracle'))
    assert checkout.run(purpose, VERSION=version) == (0, path, '', [])


@pytest.mark.parametrize(
    'words, version, text',
    [
        ([], '3.8', '3.9 to 3.13'),
        ([], '2.7', '3.9 to 3.13'),
        (['lint'], '3.6', '3.9 to 3.13'),
        (['other'], '3.11', "'other'"),
    ],
)
def test_an_unknown_version_or_purpose(checkout, words, version, text):
    status, path, err, calls = checkout.run(*words, VERSION=version)
    assert (status, path, calls) == (2, '', [])
    assert text in err and len(err.splitlines()) == 1


def test_a_python_that_cannot_run(checkout):
    checkout.python = '/missing/python'
    status, path, err, _ = checkout.run()
    assert (status, path) == (2, '')
    assert '/missing/python' in err and len(err.splitlines()) == 1


def test_a_changed_lock_remakes_the_environment(checkout):
    checkout.run()
    with (checkout.folder / 'requirements' / 'modern-test.txt').open('a') as file:
        file.write('# changed\n')
    _, _, _, calls = checkout.run()
    assert installs(calls, 'requirements/modern.txt') and installs(calls, '-e .')


@pytest.mark.parametrize('name', ['src/centernet/kernels/csrc/cpu.cpp', 'setup.py'])
def test_changed_sources_reinstall_the_package_alone(checkout, name):
    checkout.run()
    with (checkout.folder / name).open('a') as file:
        file.write('\n')
    _, _, _, calls = checkout.run()
    assert len(calls) == 1 and '-e .' in calls[0]
    assert checkout.run()[3] == []


@pytest.mark.parametrize(
    'settings',
    [
        {'CUDA_HOME': '/opt/cuda'},
        {'TORCH_CUDA_ARCH_LIST': '7.5'},
        {'CC': 'gcc'},
        {'NVCC_APPEND_FLAGS': '-w'},
        {'NVCC_CCBIN': 'g++-12'},
        {'LIBRARY_PATH': '/opt/cuda/lib'},
        {'CENTERNET_DCN': 'compiled'},
    ],
)
def test_changed_settings_reinstall_the_package_alone(checkout, settings):
    checkout.run()
    _, _, _, calls = checkout.run(**settings)
    assert len(calls) == 1 and '-e .' in calls[0]
    assert checkout.run(**settings)[3] == []


def test_a_new_nvcc_reinstalls_the_package_alone(checkout, tmp_path):
    checkout.run(CUDA_HOME=str(tmp_path))
    program(tmp_path / 'bin' / 'nvcc', '#!/bin/sh\necho release 99.0\n')
    _, _, _, calls = checkout.run(CUDA_HOME=str(tmp_path))
    assert len(calls) == 1 and '-e .' in calls[0]


@pytest.mark.parametrize('variable', ['CXX', 'CC', 'NVCC_CCBIN'])
def test_a_new_version_of_a_compiler_reinstalls_the_package_alone(checkout, variable):
    settings = {variable: 'compiler -m64'}
    for version in ('1', '2'):
        program(checkout.bin / 'compiler', f'#!/bin/sh\necho version {version}\n')
        calls = checkout.run(**settings)[3]
        assert '-e .' in calls[-1]
        assert checkout.run(**settings)[3] == []
    assert len(calls) == 1


@pytest.mark.parametrize('place', ['CUDA_HOME', 'PATH', 'site-packages'])
def test_a_toolkit_that_is_completed_reinstalls_the_package_alone(checkout, tmp_path, place):
    status, venv, err, _ = checkout.run()
    assert status == 0, err
    packages = pathlib.Path(venv, 'lib', 'python3.11', 'site-packages')
    # the folder of what is on PATH is tmp_path / 'bin'
    toolkit = {'CUDA_HOME': tmp_path / 'cuda', 'PATH': tmp_path}.get(place, packages / 'nvidia' / 'cu13')
    settings = {'CUDA_HOME': str(toolkit)} if place == 'CUDA_HOME' else {}
    (toolkit / 'bin').mkdir(parents=True, exist_ok=True)
    checkout.run(**settings)
    program(toolkit / 'bin' / 'nvcc', '#!/bin/sh\necho release 13.0\n')
    for name in (
        'bin/nvcc',
        'bin/ptxas',
        'nvvm/bin/cicc',
        'include/cuda_runtime.h',
        'include/crt/host_config.h',
        'include/cccl/nv/target',
        'lib/libcudart.so.13',
    ):
        if name != 'bin/nvcc':
            (toolkit / name).parent.mkdir(parents=True, exist_ok=True)
            (toolkit / name).write_text('')
        _, _, _, calls = checkout.run(**settings)
        assert len(calls) == 1 and '-e .' in calls[0], name
        assert checkout.run(**settings)[3] == []
    for name in ('bin/other', 'include/other.h', 'lib/libother.so'):
        (toolkit / name).write_text('')
    assert checkout.run(**settings)[3] == [], 'nothing of the toolkit'


def test_another_version_of_a_package_of_the_toolkit_reinstalls_the_package_alone(checkout):
    packages = pathlib.Path(checkout.run()[1], 'lib', 'python3.11', 'site-packages')
    (packages / 'nvidia' / 'cu13' / 'bin').mkdir(parents=True)
    program(packages / 'nvidia' / 'cu13' / 'bin' / 'nvcc', '#!/bin/sh\necho release 13.0\n')
    versions = [packages / f'nvidia_cuda_crt-13.{minor}.dist-info' for minor in (1, 0)]
    versions[0].mkdir()
    checkout.run()
    versions[0].rename(versions[1])
    _, _, _, calls = checkout.run()
    assert len(calls) == 1 and '-e .' in calls[0]
    assert checkout.run()[3] == []


def test_an_operator_from_earlier_sources_does_not_stay(checkout):
    for name in ('_torch_1_0_0.cpython.so', '_torch_2_13_0.cpython.so'):
        (checkout.folder / 'src' / 'centernet' / 'kernels' / name).write_text('')
    checkout.run()
    left = [path.name for path in (checkout.folder / 'src' / 'centernet' / 'kernels').glob('_torch_*')]
    assert left == ['_torch_1_0_0.cpython.so']  # belongs to another environment


def test_an_operator_that_had_to_be_compiled_is_kept_without_that_demand(checkout):
    checkout.run(CENTERNET_DCN='compiled')
    assert checkout.run()[3] == []
    assert checkout.run(CENTERNET_DCN='reference')[3] == []


def test_a_failing_pip_shows_its_output(checkout):
    status, path, err, _ = checkout.run(REFUSE='modern-test.txt')
    assert status != 0 and path == ''
    assert 'pip says no' in err and 'install.log' in err
    assert checkout.run()[0] == 0


@pytest.mark.parametrize('kill', ['requirements/modern.txt', 'modern-torch.txt|torch-cpu.txt', '-e .'])
def test_an_interrupted_install_is_completed_by_the_next_call(checkout, kill):
    status, path, _, _ = checkout.run(KILL=kill)
    assert (status, path) == (-signal.SIGKILL, '')
    status, path, _, calls = checkout.run()
    assert status == 0 and path
    assert installs(calls, '-e .')
    assert bool(installs(calls, 'requirements/modern.txt')) == (kill != '-e .')


def test_two_calls_at_once_install_once(checkout):
    started = [checkout.start(SECONDS_EACH='0.3') for _ in range(2)]
    results = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0], results
    assert results[0][0] == results[1][0] == str(checkout.folder / '.venv-3.11') + '\n'
    assert len(installs(checkout.calls(), '-e .')) == 1
    assert len(installs(checkout.calls(), 'requirements/modern.txt')) == 1
    assert any('waiting' in err for _, err in results)


# Which torch

CPU_INDEX = '--index-url https://download.pytorch.org/whl/cpu --no-deps'
HINT = 'TORCH_INDEX='


@NEEDS_NO_DRIVER
def test_the_cpu_build_that_pip_knows_is_taken(checkout):
    _, _, err, calls = checkout.run()
    assert installs(calls, '+cpu') and len(installs(calls, 'torch-cpu.txt')) == 1
    assert not installs(calls, '--index-url') and not installs(calls, 'modern-torch.txt')
    assert not installs(calls, 'asked') and HINT not in err


@NEEDS_NO_DRIVER
def test_else_the_cpu_build_of_pytorchs_index(checkout):
    _, _, err, calls = checkout.run(REFUSE='pip-version-check -r .*torch-cpu.txt', INDEX_ANSWERS='1')
    assert len(installs(calls, 'torch-cpu.txt')) == 2 and CPU_INDEX in installs(calls, 'torch-cpu.txt')[1]
    assert not installs(calls, 'modern-torch.txt') and HINT not in err and 'pip says no' not in err


@NEEDS_NO_DRIVER
@pytest.mark.parametrize('answers', ['', '1'])
def test_else_pips_own_torch_with_a_hint(checkout, answers):
    status, _, err, calls = checkout.run(REFUSE='torch-cpu.txt', INDEX_ANSWERS=answers)
    assert status == 0
    assert bool(installs(calls, '--index-url')) == bool(answers)
    assert len(installs(calls, 'modern-torch.txt')) == 1
    assert len([line for line in err.splitlines() if HINT in line]) == 1


def test_an_index_of_ones_own_comes_first(checkout):
    _, _, err, calls = checkout.run(TORCH_INDEX='https://example.org/simple')
    assert installs(calls, '--index-url https://example.org/simple -r requirements/modern-torch.txt')
    assert not installs(calls, 'torch-cpu.txt') and HINT not in err


@pytest.mark.parametrize('name, text', [('nvidia-smi', ''), ('uname', 'echo Darwin\n')])
def test_with_a_driver_or_on_macos_pips_own_torch(checkout, name, text):
    program(checkout.bin / name, '#!/bin/sh\n' + text)
    _, _, err, calls = checkout.run()
    assert installs(calls, 'modern-torch.txt') and not installs(calls, 'torch-cpu.txt')
    assert not installs(calls, '--index-url') and HINT not in err
