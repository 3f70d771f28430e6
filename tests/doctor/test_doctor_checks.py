"""The doctor's checks, each on something made for it."""

import filecmp
import os
import sys
import textwrap
from collections import namedtuple

import pytest

from centernet.doctor import Finding, exit_status, format_findings, given, installed, machine
from centernet.doctor.findings import MISSING, OK, WARNING, isolated
from centernet.doctor.processes import Probe, Started
from centernet.sample import sample_folder

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TORCH = {
    'torch': {'version': '1.0.0', 'cuda': '10.0.130', 'file': ''},
    'architectures': ['sm_35', 'sm_50', 'sm_60', 'sm_70'],
}


def put_package(site, name, version, code=None):
    metadata = site / f'{name}-{version}.dist-info'
    metadata.mkdir(parents=True)
    (metadata / 'METADATA').write_text(
        f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nText\nVersion: 9\n'
    )
    if code is not None:
        (site / name).mkdir()
        (site / name / '__init__.py').write_text(code)


# Versions and the lock


def test_installed_packages_are_read_from_their_metadata(tmp_path):
    put_package(tmp_path / 'one', 'Some_Package.x', '1.0+cpu')
    put_package(tmp_path / 'two', 'some-package-x', '2.0')
    put_package(tmp_path / 'two', 'other', '3')
    (tmp_path / 'two' / 'broken-1.dist-info').mkdir()
    paths = [str(tmp_path / name) for name in ('missing', 'one', 'two')]
    assert installed.distributions(paths) == {'some-package-x': '1.0+cpu', 'other': '3'}


def test_what_is_installed_here_is_known():
    import numpy

    assert installed.distributions(sys.path)['numpy'] == numpy.__version__


def test_the_lock_is_read_with_its_markers(tmp_path):
    pytest.importorskip(
        'packaging',
        reason='markers are read with packaging, which the pinned stack has not and its lock needs not',
    )
    (tmp_path / 'lock.txt').write_text(
        textwrap.dedent("""\
        # a comment
        plain==1.0 \\
            --hash=sha256:00
        Two_Parts==2.0 ; python_full_version >= '3.0' \\
            --hash=sha256:00
        two-parts==1.0 ; python_full_version < '3.0' \\
            --hash=sha256:00
        torch==2.13.0; python_version >= "3.0"
        elsewhere==1 ; sys_platform == 'win32' \\
            --hash=sha256:00
        """)
    )
    assert installed.read_lock(str(tmp_path / 'lock.txt')) == {
        'plain': {'1.0'},
        'two-parts': {'2.0'},
        'torch': {'2.13.0'},
    }


@pytest.mark.parametrize('name', ['pinned.txt', 'pinned-source.txt'])
def test_the_pinned_lock_needs_no_packaging(name, monkeypatch):
    monkeypatch.setitem(sys.modules, 'packaging', None)
    assert installed.read_lock(os.path.join(ROOT, 'requirements', name))


@pytest.fixture
def lock(tmp_path, monkeypatch):
    """A lock of torch and numpy for this interpreter, and the environment that it is compared with."""
    monkeypatch.setattr(installed, 'STACKS', {sys.version_info[:2]: ('modern', ('lock.txt',))})
    monkeypatch.setattr(
        sys, 'path', [str(tmp_path / 'site')] + [path for path in sys.path if 'site-packages' not in path]
    )
    (tmp_path / 'lock.txt').write_text(
        'numpy==1.19.5 \\\n    --hash=sha256:00\npip==1 \\\n    --hash=sha256:00\ntorch==1.0.0\n'
    )
    return tmp_path


@pytest.mark.parametrize(
    'torch, numpy, level, text',
    [
        ('1.0.0+cpu', '1.19.5', OK, 'all 2 packages'),
        ('1.0.1', '1.19.5', MISSING, 'torch 1.0.1 (1.0.0)'),
        ('1.0.0', None, MISSING, '1 of 2 packages differ'),
        (None, None, MISSING, 'numpy is not installed (1.19.5)'),
    ],
)
def test_versions_against_the_lock(lock, torch, numpy, level, text):
    for name, version in (('torch', torch), ('numpy', numpy)):
        if version:
            put_package(lock / 'site', name, version)
    (finding,) = installed.check_lock(str(lock))
    assert (finding.level, text in finding.text) == (level, True), finding.text
    assert bool(finding.details['differing']) == (level == MISSING)


def test_without_a_lock(monkeypatch):
    monkeypatch.setattr(installed, 'find_shared', lambda folder, name: None)
    (finding,) = installed.check_lock()
    assert (finding.level, 'not found' in finding.text) == (WARNING, True)
    monkeypatch.setattr(installed, 'STACKS', {})
    (finding,) = installed.check_lock()
    assert (finding.level, 'has no lock' in finding.text) == (WARNING, True)


def test_the_lock_of_the_checkout_or_of_the_installed_files_is_found(tmp_path, monkeypatch):
    for name in ('modern.txt', 'pinned.txt'):
        assert filecmp.cmp(
            os.path.join(installed.find_shared('requirements', name), name),
            os.path.join(ROOT, 'requirements', name),
            False,
        )
    # installed: no setup.cfg above the package
    monkeypatch.setattr(
        installed, '__file__', str(tmp_path / 'lib' / 'centernet' / 'doctor' / 'installed.py')
    )
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    assert installed.find_shared('requirements', 'never.txt') is None
    folder = tmp_path / 'share' / 'centernet' / 'requirements'
    folder.mkdir(parents=True)
    (folder / 'modern.txt').write_text('')
    assert installed.find_shared('requirements', 'modern.txt') == str(folder)


def test_every_lock_is_installed_with_the_package():
    with open(os.path.join(ROOT, 'setup.cfg')) as file:
        text = file.read()
    for _, names in installed.STACKS.values():
        for name in names:
            assert f'\n    requirements/{name}\n' in text
            assert os.path.isfile(os.path.join(ROOT, 'requirements', name))
    for name in ('original.sha256', 'patched.sha256'):
        assert f'\n    patches/torch-1.0.0/{name}\n' in text
        assert os.path.isfile(os.path.join(ROOT, 'patches', 'torch-1.0.0', name))


# torch's patches


@pytest.fixture
def torch_100(tmp_path, monkeypatch):
    """(site-packages, folder of checksums) with a torch 1.0.0 of two files, both patched."""
    site, sums = tmp_path / 'site', tmp_path / 'sums'
    put_package(site, 'torch', '1.0.0', code='raise ImportError("torch was imported")')
    sums.mkdir()
    for state in ('original', 'patched'):
        (site / 'torch' / 'a.py').write_text(state)
        (sums / f'{state}.sha256').write_text(
            '{}  torch/a.py\n'.format(installed.sha256(str(site / 'torch' / 'a.py')))
        )
    monkeypatch.setattr(sys, 'path', [str(site)] + sys.path)
    monkeypatch.delitem(sys.modules, 'torch', raising=False)
    return site, sums


@pytest.mark.parametrize(
    'text, level, said',
    [
        ('patched', OK, 'applied to torch/a.py'),
        ('original', WARNING, 'torch/a.py is not patched'),
        ('mine', WARNING, 'neither the original nor the patched one'),
    ],
)
def test_torch_patches(torch_100, text, level, said):
    site, sums = torch_100
    (site / 'torch' / 'a.py').write_text(text)
    (finding,) = installed.check_torch_patches(str(sums))
    assert (finding.level, said in finding.text) == (level, True), finding.text
    assert (finding.advice is None) == (level == OK)


def test_another_torch_has_no_patches(tmp_path, monkeypatch):
    put_package(tmp_path, 'torch', '2.13.0', code='')
    monkeypatch.setattr(sys, 'path', [str(tmp_path)] + sys.path)
    monkeypatch.delitem(sys.modules, 'torch', raising=False)
    assert installed.check_torch_patches() == []


# GPU


@pytest.mark.parametrize(
    'archs, capability, works',
    [
        (['sm_35', 'sm_50', 'sm_60', 'sm_70'], (3, 7), True),
        (['sm_35', 'sm_50', 'sm_60', 'sm_70'], (7, 5), True),
        (['sm_35', 'sm_50', 'sm_60', 'sm_70'], (8, 0), False),
        (['sm_35', 'sm_50', 'sm_60', 'sm_70'], (3, 0), False),
        (['sm_70', 'compute_70'], (9, 0), True),
        (['sm_80', 'compute_80'], (7, 5), False),
        (['sm_90a', 'sm_100'], (10, 0), True),
        (['sm_86'], (8, 0), False),
        ([], (7, 5), False),
        (['nonsense'], (7, 5), False),
    ],
)
def test_which_capabilities_are_served(archs, capability, works):
    assert machine.serves(archs, capability) is works


@pytest.mark.parametrize(
    'device, level', [('auto', WARNING), ('cuda', MISSING), ('cuda:0', MISSING), ('cuda:1', WARNING)]
)
def test_a_gpu_that_this_cuda_cannot_serve_is_named_with_the_way_out(device, level):
    found = dict(
        TORCH,
        gpus=[{'name': 'NVIDIA A10', 'capability': [8, 6]}, {'name': 'Tesla T4', 'capability': [7, 5]}],
        device={'device': 'x', 'device_name': 'y'},
    )
    first, second = machine.check_gpu(found, {}, None, device)[:2]
    assert (first.level, second.level) == (level, OK)
    assert 'NVIDIA A10' in first.text and '8.6' in first.text and '10.0.130' in first.text
    assert '--device cpu' in first.advice and 'modern stack' in first.advice


def test_a_device_that_was_asked_for():
    findings = machine.check_gpu(dict(TORCH, gpus=[]), {'device': 'no such GPU: cuda:7'}, None, 'cuda:7')
    assert [(finding.topic, finding.level) for finding in findings] == [('GPU', OK), ('--device', MISSING)]
    assert 'cuda:7' in findings[1].text


def test_what_nvidia_smi_sees_and_torch_does_not():
    smi = Started([sys.executable, '-c', 'print("Tesla T4, 390.48")'])
    (finding,) = machine.check_gpu(dict(TORCH, gpus=[]), {}, smi, 'auto')
    assert (finding.level, 'Tesla T4, 390.48' in finding.text) == (WARNING, True)


@pytest.mark.parametrize(
    'inside, text, advice',
    [(True, 'was given no GPU', '--gpus all'), (False, 'sees no GPU', 'CUDA_VISIBLE_DEVICES')],
)
def test_a_driver_without_a_gpu(tmp_path, monkeypatch, inside, text, advice):
    (tmp_path / 'version').write_text('NVRM version')
    monkeypatch.setattr(machine, 'DRIVER', str(tmp_path / 'version'))
    monkeypatch.setattr(machine, 'in_container', lambda: inside)
    (finding,) = machine.check_gpu(dict(TORCH, gpus=[]), {}, None, 'auto')
    assert (finding.level, text in finding.text, advice in finding.advice) == (WARNING, True, True)
    monkeypatch.setattr(machine, 'DRIVER', str(tmp_path / 'none'))
    assert machine.check_gpu(dict(TORCH, gpus=[]), {}, None, 'auto')[0].level == OK


def test_a_torch_that_cannot_be_imported():
    gpu, device = machine.check_gpu({}, {'torch': 'ImportError: libmkl'}, None, 'cuda')
    assert (gpu.level, device.level) == (WARNING, MISSING)
    assert 'libmkl' in gpu.text and 'libmkl' in device.text
    (operator,) = machine.check_operator({}, {'torch': 'ImportError: libmkl'})
    assert operator.level == WARNING


def test_the_operator():
    (finding,) = machine.check_operator({'operator': {'compiled': 'CPU (avx2)', 'missing': None}}, {})
    assert (finding.level, 'CPU (avx2)' in finding.text) == (OK, True)
    (finding,) = machine.check_operator({'operator': {'compiled': None, 'missing': 'it was not built'}}, {})
    assert (finding.level, 'it was not built' in finding.text, 'g++' in finding.advice) == (
        WARNING,
        True,
        True,
    )


# Machine and container


@pytest.mark.parametrize(
    'name, text, inside',
    [
        ('.dockerenv', '', True),
        ('run/.containerenv', '', True),
        ('proc/1/cgroup', '1:cpu:/kubepods/pod1\n', True),
        ('proc/1/cgroup', '0::/init\n', False),
        ('etc/other', '', False),
    ],
)
def test_a_container_is_known(tmp_path, name, text, inside):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
    assert machine.in_container(str(tmp_path)) is inside


def test_mounts(tmp_path, monkeypatch):
    data, output = tmp_path / 'data', tmp_path / 'output'
    data.mkdir()
    output.mkdir()
    table = tmp_path / 'mountinfo'
    table.write_text(
        f'36 35 98:0 /x {data} ro,noatime master:1 - ext4 /dev/sda1 rw\n37 35 0:5 / /sys rw - sysfs sysfs'
        ' rw\n'
    )
    monkeypatch.setattr(os, 'access', lambda path, mode: path != str(output) and path != str(data))
    monkeypatch.setattr(os, 'getcwd', lambda: str(tmp_path))
    found = {
        finding.topic: finding
        for finding in machine.check_mounts(table=str(table))
        if finding.topic.startswith(str(tmp_path))
    }
    assert [found[str(place)].level for place in (data, output)] == [OK, WARNING]
    assert len(found) == 2
    assert 'mounted (ext4), read-only' in found[str(data)].text
    assert "the container's own folder, read-only" in found[str(output)].text
    assert 'mount a folder' in found[str(output)].advice


@pytest.mark.parametrize('free, level', [(64 << 20, WARNING), (1 << 30, OK)])
def test_shared_memory(monkeypatch, tmp_path, free, level):
    sizes = namedtuple('Sizes', 'f_blocks f_frsize f_bavail')(1 << 20, 4096, free // 4096)
    monkeypatch.setattr(os, 'statvfs', lambda folder: sizes)
    (finding,) = machine.check_shared_memory(str(tmp_path))
    assert finding.level == level
    assert (finding.advice is None) == (level == OK)
    assert machine.check_shared_memory(str(tmp_path / 'nowhere')) == []


@pytest.mark.parametrize('free, level', [(100 << 20, WARNING), (2 << 30, OK)])
def test_space(monkeypatch, tmp_path, free, level):
    monkeypatch.setattr(machine.shutil, 'disk_usage', lambda folder: namedtuple('Usage', 'free')(free))
    finding = machine.check_space(str(tmp_path / 'not' / 'there'))[0]
    assert (finding.level, str(tmp_path) in finding.text) == (level, True)


def test_compilers():
    commands = {'g++': [sys.executable, '-c', 'print("g++ 12.2\\nmore")'], 'nvcc': ['/nowhere/nvcc']}
    (finding,) = machine.check_compilers({name: Started(command) for name, command in commands.items()})
    assert (finding.level, finding.text) == (OK, 'g++ 12.2; no nvcc')


# Weights, data, output


def test_weights(tmp_path):
    (tmp_path / 'empty.pth').write_bytes(b'')
    (tmp_path / 'good.pth').write_bytes(b'x' * 3000)
    for name, message in (('nowhere.pth', 'no such file'), ('', 'is no file'), ('empty.pth', 'is empty')):
        (finding,) = given.check_weights(str(tmp_path / name))
        assert (finding.topic, finding.level, message in finding.text) == ('--weights', MISSING, True)
    (finding,) = given.check_weights(str(tmp_path / 'good.pth'))
    assert (finding.level, '3 KB' in finding.text) == (OK, True)
    (finding,) = given.check_weights(None, [str(tmp_path)])
    assert (finding.level, f'{tmp_path}/empty.pth, {tmp_path}/good.pth' in finding.text) == (OK, True)


def test_output(tmp_path):
    for asked, level in ((True, MISSING), (False, WARNING)):
        (tmp_path / 'file').write_text('')
        for place in (tmp_path / 'file', tmp_path / 'file' / 'out', '/proc/out'):
            (finding,) = given.check_output(str(place), asked)
            assert finding.level == level, finding
    (finding,) = given.check_output(str(tmp_path / 'new' / 'out'), True)
    assert (finding.level, 'can be made' in finding.text) == (OK, True)
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize(
    'words, text',
    [
        (['/nowhere', '', ''], 'no such data folder: /nowhere'),
        (['', '/nowhere.json', ''], 'no such annotations file: /nowhere.json'),
        (['', '', '/nowhere'], 'no data: give'),
    ],
)
def test_data_that_are_not_there(words, text):
    (finding,) = given.check_data(True, Probe('data', *words))
    assert (finding.topic, finding.level, text in finding.text) == ('--data', MISSING, True), finding


def test_data(tmp_path):
    (finding,) = given.check_data(True, Probe('data', sample_folder(str(tmp_path), 2), '', ''))
    assert (finding.level, finding.details['count']) == (OK, 2)
    (tmp_path / 'annotations').mkdir()
    large = tmp_path / 'annotations' / 'instances_val2017.json'
    with large.open('wb') as file:
        file.truncate(40 << 20)
    (finding,) = given.check_data(True, Probe('data', str(tmp_path), '', ''))
    assert (finding.level, 'too large to be read here' in finding.text) == (OK, True)
    (finding,) = given.check_data(False, None, [str(tmp_path)])
    assert (finding.topic, finding.level, 'instances_val2017.json' in finding.text) == ('data', OK, True)


# What may go wrong with the checks themselves


def test_a_check_that_fails_is_a_finding():
    def broken(word):
        raise KeyError(word)

    (finding,) = isolated('lock', broken, 'why')
    assert (finding.topic, finding.level, finding.text) == (
        'lock',
        WARNING,
        "could not be checked: KeyError: 'why'",
    )


def test_programs_that_are_missing_hang_or_die():
    assert Started(['/nowhere/program']).finish()[1] == 'there is no such program'
    assert (
        Started([sys.executable, '-c', 'import time; time.sleep(60)'], 0.5).finish()[1]
        == 'did not answer within 0.5 seconds'
    )
    assert Started([sys.executable, '-c', 'import os; os.abort()']).finish()[1] == 'ended by SIGABRT'
    assert Started([sys.executable, '-c', 'print("x" * 200000)']).finish() == ('x' * 200000 + '\n', None)


def test_a_probe_says_which_package_took_it_down(tmp_path, monkeypatch):
    put_package(tmp_path, 'fine', '1', "__version__ = '1'")
    put_package(tmp_path, 'noisy', '1', "print('hello')\nraise ImportError('libnoise.so: not\\nfound')")
    put_package(tmp_path, 'fatal', '1', 'import os; os.abort()')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    found, failed = Probe('packages', 'fine', 'noisy', 'fatal', 'later').finish()
    assert found == {'fine': {'version': '1', 'file': str(tmp_path / 'fine' / '__init__.py')}}
    assert failed == {'noisy': 'ImportError: libnoise.so: not', 'fatal': 'ended by SIGABRT'}


def test_the_table():
    findings = [
        Finding('one', OK, 'good'),
        Finding('two', WARNING, 'word ' * 40, 'do this'),
        Finding('three', MISSING, 'gone'),
    ]
    lines = format_findings(findings, 60).splitlines()
    assert lines[0] == 'one    good'
    assert max(len(line) for line in lines) <= 60
    assert '       -> do this' in lines
    assert 'three  MISSING: gone' in lines
    assert exit_status(findings) == 1
    assert exit_status(findings[:2]) == 0
