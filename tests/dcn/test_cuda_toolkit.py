"""Finding and checking a CUDA toolkit, with toolkits that a test writes: an nvcc that prints, empty files."""

import os

import pytest

from centernet.dcn.cuda_toolkit import (
    NoCuda,
    OtherToolkit,
    check_toolkit,
    find_toolkit,
    first_error,
    gencode_flags,
    parse_cuda_version,
)

VERSION = """nvcc: NVIDIA (R) Cuda compiler driver
Cuda compilation tools, release {0}, V{0}.130
"""
#: compiles nothing: prints a message, and fails if it is to; keeps its arguments
NVCC = """#!/bin/sh
case "$*" in
    --version) cat "$(dirname "$0")/version" ;;
    *) echo "$@" >"$(dirname "$0")/arguments"; cat "$(dirname "$0")/message" && exit {} ;;
esac
"""


def toolkit(folder, version, message='', status=0, headers=True, runtime='lib64/libcudart.so'):
    """Write a toolkit whose nvcc prints a message and ends with a status instead of compiling."""
    files = {'bin/nvcc': NVCC.format(status), 'bin/version': VERSION.format(version), 'bin/message': message}
    files[runtime] = ''
    if headers:
        files['include/cuda_runtime_api.h'] = ''
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / 'bin' / 'nvcc').chmod(0o755)
    return str(folder)


def architectures(flags):
    return [flag[len('-gencode=arch=') :] for flag in flags if flag.startswith('-gencode')]


def codes(flags):
    return [pair.split('code=')[1] for pair in architectures(flags)]


@pytest.mark.parametrize(
    'text, version',
    [
        (VERSION.format('10.0'), (10, 0)),
        (VERSION.format('13.0'), (13, 0)),
        ('10.0.130', (10, 0)),
        ('13.0', (13, 0)),
        (None, None),
        ('', None),
    ],
)
def test_cuda_versions(text, version):
    assert parse_cuda_version(text) == version


@pytest.mark.parametrize('version', [(10, 0), (10, 1), (10, 2)])
def test_cuda_10_compiles_for_35_to_75(version):
    expected = ['sm_35', 'sm_50', 'sm_60', 'sm_61', 'sm_70', 'sm_75', 'compute_75']
    assert codes(gencode_flags(version)) == expected


@pytest.mark.parametrize(
    'version, first, last',
    [
        ((9, 0), '35', '70'),
        ((11, 0), '35', '80'),
        ((11, 7), '35', '86'),
        ((11, 8), '50', '90'),
        ((12, 4), '50', '90'),
        ((12, 9), '50', '120'),
        ((13, 0), '75', '120'),
        ((14, 1), '75', '120'),
    ],
)
def test_other_toolkits(version, first, last):
    found = architectures(gencode_flags(version))
    assert found[0] == f'compute_{first},code=sm_{first}'
    assert found[-1] == f'compute_{last},code=compute_{last}'


def test_cuda_13_compiles_for_thor():
    assert 'sm_110' in codes(gencode_flags((13, 0)))


@pytest.mark.parametrize(
    'wanted, expected',
    [
        ('7.0;7.5+PTX', ['sm_70', 'sm_75', 'compute_75']),
        ('8.6 9.0a', ['sm_86', 'sm_90a']),
        ('Turing', ['sm_75', 'compute_75']),
        ('Volta;turing+PTX', ['sm_70', 'compute_70', 'sm_75', 'compute_75']),
        ('8.9;Hopper', ['sm_89', 'sm_90', 'compute_90']),
    ],
)
def test_the_list_in_the_environment(wanted, expected):
    assert codes(gencode_flags((12, 0), wanted)) == expected


@pytest.mark.parametrize('wanted', ['All', 'all', 'Common', ' ', None])
def test_a_list_of_everything(wanted):
    assert gencode_flags((13, 0), wanted) == gencode_flags((13, 0))


@pytest.mark.parametrize('wanted', ['Riva', '75', '7.5+PTY', 'Turing+7.5', '-O3'])
def test_an_invalid_list(wanted):
    with pytest.raises(NoCuda, match='TORCH_CUDA_ARCH_LIST'):
        gencode_flags((10, 0), wanted)


def test_a_toolkit_that_is_too_old():
    with pytest.raises(NoCuda, match=r'CUDA 8\.0'):
        gencode_flags((8, 0))


def test_a_toolkit_that_fits(tmp_path):
    home = toolkit(tmp_path, '10.0', message='a warning')
    found = check_toolkit(home, '10.0.130', {})
    assert (found.home, found.runtime, len(architectures(found.flags))) == (home, 'cudart', 7)
    assert len(architectures(check_toolkit(home, '10.0.130', {'TORCH_CUDA_ARCH_LIST': '7.5'}).flags)) == 1
    used = (tmp_path / 'bin' / 'arguments').read_text().split()
    assert 'arch=compute_75,code=sm_75' in ' '.join(used) and '-ccbin' not in used
    flags = check_toolkit(home, '10.0.130', {'CXX': 'g++-7 -m64', 'CC': 'gcc-7'}).flags
    assert flags[flags.index('-ccbin') + 1] == 'g++-7'


@pytest.mark.parametrize(
    'torch_cuda, version, fits',
    [
        ('10.0.130', '10.2', False),  # compiles, but would load a second CUDA runtime
        ('9.0.176', '13.0', False),
        ('12.6', '13.0', False),
        ('12.6', '12.1', True),
        ('11.8', '11.2', True),
    ],
)
def test_toolkits_of_another_version(tmp_path, torch_cuda, version, fits):
    home = toolkit(tmp_path, version)
    if fits:
        assert check_toolkit(home, torch_cuda, {}).home == home
        return
    with pytest.raises(OtherToolkit) as caught:
        check_toolkit(home, torch_cuda, {})
    assert f'CUDA {version}' in str(caught.value)
    assert '.'.join(torch_cuda.split('.')[:2]) in str(caught.value)


@pytest.mark.parametrize(
    'message, words',
    [
        ("nvcc fatal   : Unsupported gpu architecture 'compute_35'", ['fatal', 'compute_35']),
        ('probe.cu:1:10: fatal error: cuda_runtime.h: No such file or directory', ['nvidia-cuda-runtime']),
        ('/x/cuda_fp16.h:1: fatal error: nv/target: No such file or directory', ['nvidia-cuda-cccl']),
        ('/x/a.h:9:10: fatal error: crt/host_config.h: No such file or directory', ['nvidia-cuda-crt']),
        ('sh: 1: cicc: not found', ['cicc', 'nvidia-nvvm']),
        ('sh: 1: ptxas: not found', ['ptxas', 'nvidia-cuda-nvcc']),
        ('#error -- unsupported GNU version! gcc versions later than 15 are not supported!', ['GNU version']),
        ('Segmentation fault', ['Segmentation fault']),
    ],
)
def test_a_toolkit_that_does_not_work(tmp_path, message, words):
    home = toolkit(tmp_path, '13.0', message=f'a line before\n{message}', status=1)
    with pytest.raises(NoCuda) as caught:
        check_toolkit(home, '13.0', {})
    assert all(word in str(caught.value) for word in [home, *words])
    assert 'a line' not in str(caught.value) and '\n' not in str(caught.value)


def test_nvcc_that_cannot_be_run(tmp_path):
    home = toolkit(tmp_path, '13.0')
    (tmp_path / 'bin' / 'nvcc').chmod(0o644)
    with pytest.raises(OtherToolkit, match='unknown version'):
        check_toolkit(home, '13.0', {})


def test_a_toolkit_without_headers(tmp_path):
    with pytest.raises(NoCuda, match=r'cuda_runtime_api\.h'):
        check_toolkit(toolkit(tmp_path, '13.0', headers=False), '13.0', {})


@pytest.mark.parametrize(
    'runtime, linked',
    [
        ('lib64/libcudart.so', 'cudart'),
        ('lib/libcudart.so.13', ':libcudart.so.13'),
    ],
)
def test_the_runtime_that_is_linked(tmp_path, runtime, linked):
    assert check_toolkit(toolkit(tmp_path, '13.0', runtime=runtime), '13.0', {}).runtime == linked


def test_a_runtime_that_only_the_linker_finds(tmp_path):
    """As in a distribution's packages, or with LIBRARY_PATH or LDFLAGS."""
    home = toolkit(tmp_path, '13.0', runtime='lib/libother.so')
    compiler = tmp_path / 'g++'
    compiler.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/arguments\n')
    compiler.chmod(0o755)
    found = check_toolkit(home, '13.0', {'CXX': f'{compiler} -m64', 'LDFLAGS': '-L/opt/cuda/lib'})
    assert found.runtime == 'cudart'
    used = (tmp_path / 'arguments').read_text().split()
    assert used[:2] == ['-m64', '-L/opt/cuda/lib'] and '-lcudart' in used


@pytest.mark.parametrize(
    'message',
    [
        '/usr/bin/ld: cannot find -lcudart: No such file or directory',
        'ld.lld: error: unable to find library -lcudart',
        'mold: fatal: library not found: cudart',
    ],
)
def test_a_toolkit_without_the_runtime(tmp_path, message):
    home = toolkit(tmp_path, '13.0', runtime='lib/libcudart_static.a')
    compiler = tmp_path / 'g++'
    compiler.write_text(f'#!/bin/sh\necho {message!r} && exit 1\n')
    compiler.chmod(0o755)
    with pytest.raises(NoCuda) as caught:
        check_toolkit(home, '13.0', {'CXX': str(compiler)})
    assert all(word in str(caught.value) for word in (home, 'libcudart', 'nvidia-cuda-runtime'))
    assert '\n' not in str(caught.value)


def test_where_toolkits_are_found(tmp_path):
    whole = toolkit(tmp_path / 'whole', '13.0')
    script = toolkit(tmp_path / 'script', '13.0', headers=False)
    packages = toolkit(tmp_path / 'site-packages' / 'nvidia' / 'cu13', '13.0')
    path = [str(tmp_path), str(tmp_path / 'site-packages')]
    assert find_toolkit('13.0', whole, {}, path) == whole
    assert find_toolkit('13.0', script, {}, path) in (packages, '/usr/local/cuda'), 'it has no headers'
    assert find_toolkit('13.0', script, {'CUDA_HOME': script}, path) == script, 'it was asked for'
    nowhere = str(tmp_path / 'nowhere')
    assert find_toolkit('13.0', nowhere, {'CUDA_HOME': nowhere}, path) is None
    if not os.path.exists('/usr/local/cuda/bin/nvcc'):
        assert find_toolkit('13.0', None, {}, path) == packages
        assert find_toolkit('12.0', None, {}, path) is None, 'that is CUDA 13'


def test_the_first_error():
    assert first_error('') == 'no message'
    printed = 'In file included from a.h:1:\n/a/b.h:2: error: one\n/a/b.h:3: error: two\n'
    assert first_error(printed) == 'error: one'
    missing = '/usr/bin/ld: cannot find -lcudart: No such file or directory'
    assert 'nvidia-cuda-runtime' in first_error(missing)
