import stat

import pytest

from centernet.dcn.build_extension import (
    CannotBuild,
    check_compiler,
    cuda_flags,
    extension_name,
    gencode_flags,
    parse_cuda_version,
)

NVCC = """nvcc: NVIDIA (R) Cuda compiler driver
Cuda compilation tools, release {0}, V{0}.130
"""


def program(path, text):
    """Write an executable that prints ``text``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\ncat <<"END"\n{text}\nEND\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def toolkit(folder, version, headers=True):
    program(folder / 'bin' / 'nvcc', NVCC.format(version))
    (folder / 'include').mkdir()
    if headers:
        (folder / 'include' / 'cuda_runtime_api.h').write_text('')
    return str(folder)


def architectures(flags):
    return [flag[len('-gencode=arch=') :] for flag in flags if flag.startswith('-gencode')]


def test_every_build_of_torch_has_its_own_module():
    names = [extension_name(version) for version in ('1.0.0', '2.13.0', '2.13.0+cpu', '2.14.1+cu130')]
    assert len(set(names)) == 4
    assert all(name.isidentifier() for name in names)


@pytest.mark.parametrize('text', ['7.2.0', '7.5.0', '12.2.0', '13'])
def test_a_compiler_that_is_new_enough(tmp_path, text):
    check_compiler(program(tmp_path / 'g++', text))


@pytest.mark.parametrize('text', ['4.8.5', '5', '7', '7.1.0', 'what?'])
def test_a_compiler_that_is_too_old(tmp_path, text):
    with pytest.raises(CannotBuild, match=r'7\.2'):
        check_compiler(program(tmp_path / 'g++', text))


def test_no_compiler():
    with pytest.raises(CannotBuild, match='no-such-compiler'):
        check_compiler('no-such-compiler')


@pytest.mark.parametrize(
    'text, version',
    [
        (NVCC.format('10.0'), (10, 0)),
        (NVCC.format('13.0'), (13, 0)),
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
    codes = [pair.split('code=')[1] for pair in architectures(gencode_flags(version))]
    assert codes == ['sm_35', 'sm_50', 'sm_60', 'sm_61', 'sm_70', 'sm_75', 'compute_75']


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


def test_the_list_in_the_environment():
    assert architectures(gencode_flags((10, 0), '7.0;7.5+PTX')) == [
        'compute_70,code=sm_70',
        'compute_75,code=sm_75',
        'compute_75,code=compute_75',
    ]
    assert architectures(gencode_flags((13, 0), '8.6 9.0a')) == [
        'compute_86,code=sm_86',
        'compute_90a,code=sm_90a',
    ]
    with pytest.raises(CannotBuild, match=r'Volta.*TORCH_CUDA_ARCH_LIST'):
        gencode_flags((10, 0), 'Volta')


def test_a_toolkit_older_than_torch():
    with pytest.raises(CannotBuild, match=r'CUDA 8\.0'):
        gencode_flags((8, 0))


def test_a_toolkit_that_fits(tmp_path):
    flags, why_not = cuda_flags('10.0.130', toolkit(tmp_path, '10.0'), {})
    assert why_not is None
    assert len(architectures(flags)) == 7
    flags, why_not = cuda_flags('10.0.130', str(tmp_path), {'TORCH_CUDA_ARCH_LIST': '7.5'})
    assert len(architectures(flags)) == 1


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
    flags, why_not = cuda_flags(torch_cuda, toolkit(tmp_path, version), {})
    assert (flags is not None) == fits
    if not fits:
        assert f'CUDA {version}' in why_not and '.'.join(torch_cuda.split('.')[:2]) in why_not


def test_no_cuda(tmp_path):
    part = toolkit(tmp_path / 'part', '13.0', headers=False)
    for torch_cuda, folder, reason in (
        (None, toolkit(tmp_path / 'complete', '13.0'), 'without CUDA'),
        ('13.0', None, 'nvcc'),
        ('13.0', str(tmp_path / 'none'), 'nvcc'),
        ('13.0', part, 'cuda_runtime_api.h'),
    ):
        flags, why_not = cuda_flags(torch_cuda, folder, {})
        assert flags is None and reason in why_not
