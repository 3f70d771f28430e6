"""Single checks of the doctor, with machines and packages that are made up."""

import filecmp
import os
import sys

import pytest

from centernet.doctor import checks, versions
from centernet.doctor.checks import DIFFERS, OK, WARNING
from centernet.doctor.probe import Answer, probe

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def put_package(folder, name, version, code=None):
    (folder / f'{name}-{version}.dist-info').mkdir(parents=True)
    if code is not None:
        (folder / name).mkdir()
        (folder / name / '__init__.py').write_text(code)


# The probe


def test_a_step_that_crashes_is_named_and_the_others_run(tmp_path, monkeypatch):
    put_package(tmp_path, 'noisy', '1', "print('hello')\nraise ImportError('libnoise.so: not\\nfound')")
    put_package(tmp_path, 'fatal', '1', 'import os; os.abort()')
    put_package(tmp_path, 'later', '1', "__version__ = '1.2'")
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    answers = probe({name: ['import_package', name] for name in ('noisy', 'fatal', 'later')})
    assert answers['noisy'] == Answer(problem='ImportError: libnoise.so: not')
    assert 'SIGABRT' in answers['fatal'].problem
    assert answers['later'] == Answer('1.2')


def test_a_step_that_hangs_is_named_and_the_others_run(tmp_path, monkeypatch):
    put_package(tmp_path, 'hanging', '1', 'import time; time.sleep(60)')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    answers = probe({name: ['import_package', name] for name in ('json', 'hanging')}, time_limit=5)
    assert answers['json'].problem is None
    assert '5 s' in answers['hanging'].problem


# Versions


def test_installed_versions_are_in_the_names_of_folders(tmp_path, monkeypatch):
    put_package(tmp_path / 'one', 'Some_Package_x', '1.0+cpu')
    put_package(tmp_path / 'two', 'some_package_x', '2.0')
    put_package(tmp_path / 'two', 'other', '3')
    (tmp_path / 'two' / 'old-4-py3.6.egg-info').mkdir()
    (tmp_path / 'two' / 'editable.egg-info').mkdir()
    monkeypatch.setattr(sys, 'path', [str(tmp_path / name) for name in ('missing', 'one', 'two')])
    assert checks.installed_versions() == {'some-package-x': '1.0+cpu', 'other': '3', 'old': '4'}


def test_markers_of_the_lock_are_respected(tmp_path):
    pytest.importorskip('packaging', reason='only the modern lock has markers, and packaging')
    (tmp_path / 'lock.txt').write_text(
        '# a comment\nplain==1.0 \\\n    --hash=sha256:00\npip==1.0 \\\n    --hash=sha256:00\n'
        "Two_Parts==2.0 ; python_full_version >= '3.0' \\\n    --hash=sha256:00\n"
        "two-parts==1.0 ; python_full_version < '3.0' \\\n    --hash=sha256:00\n"
        'torch==2.13.0; python_version >= "3.0"\n'
        "elsewhere==1 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
    )
    locked = versions.locked_versions([str(tmp_path / 'lock.txt')])
    assert locked == {'plain': {'1.0'}, 'two-parts': {'2.0'}, 'torch': {'2.13.0'}}


@pytest.mark.parametrize('name', versions.LOCKS['pinned'])
def test_the_pinned_lock_needs_no_packaging(name, monkeypatch):
    monkeypatch.setitem(sys.modules, 'packaging', None)
    assert versions.locked_versions([os.path.join(ROOT, 'requirements', name)])


@pytest.mark.parametrize(
    'torch, numpy, level, text',
    [
        ('1.0.0+cpu', '1.19.5', OK, 'all 2 versions'),
        ('1.0.1', '1.19.5', DIFFERS, 'torch 1.0.1 (locked: 1.0.0)'),
        ('1.0.0', None, DIFFERS, 'numpy is not installed (locked: 1.19.5)'),
    ],
)
def test_versions_against_the_lock(tmp_path, monkeypatch, torch, numpy, level, text):
    for name in ('pinned.txt', 'pinned-source.txt'):
        (tmp_path / name).write_text('numpy==1.19.5 \\\n    --hash=sha256:00\ntorch==1.0.0\n')
    monkeypatch.setattr(versions, 'stack_name', lambda: 'pinned')
    monkeypatch.setattr(versions, 'find_folder', lambda name: str(tmp_path))
    installed = {'torch': torch, 'numpy': numpy}
    monkeypatch.setattr(checks, 'installed_versions', lambda: {k: v for k, v in installed.items() if v})
    (finding,) = checks.check_lock()
    assert (finding.level, text in finding.text) == (level, True), finding.text


def test_the_lock_is_found_in_the_checkout_or_among_the_data_files(tmp_path, monkeypatch):
    for name in ('pinned.txt', 'modern.txt'):
        found = os.path.join(versions.find_folder('requirements'), name)
        assert filecmp.cmp(found, os.path.join(ROOT, 'requirements', name), shallow=False)
    monkeypatch.setattr(versions, '__file__', str(tmp_path / 'lib' / 'a' / 'b' / 'versions.py'))
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    with pytest.raises(FileNotFoundError, match='patches/torch'):
        versions.find_folder('patches/torch-1.0.0')
    (tmp_path / 'share' / 'centernet' / 'requirements').mkdir(parents=True)
    assert versions.find_folder('requirements') == str(tmp_path / 'share' / 'centernet' / 'requirements')


def test_every_file_that_the_doctor_reads_is_installed():
    with open(os.path.join(ROOT, 'setup.cfg')) as file:
        listed = file.read().split()
    names = ['requirements/' + name for stack in versions.LOCKS.values() for name in stack]
    for name in [*names, 'patches/torch-1.0.0/patched.sha256']:
        assert name in listed and os.path.isfile(os.path.join(ROOT, name))


def test_a_check_that_fails_leaves_a_warning():
    def broken():
        raise KeyError('why')

    (finding,) = checks._isolated('lock', broken)
    assert (finding.topic, finding.level) == ('lock', WARNING) and 'KeyError' in finding.text


@pytest.mark.parametrize('content, level', [('patched', OK), ('original', WARNING)])
def test_torch_patches(tmp_path, monkeypatch, content, level):
    put_package(tmp_path, 'torch', '1.0.0', code='raise ImportError("torch was imported")')
    (tmp_path / 'torch' / 'a.py').write_text('patched')
    checksum = versions.sha256(str(tmp_path / 'torch' / 'a.py'))
    (tmp_path / 'patched.sha256').write_text(f'{checksum}  torch/a.py\n')
    (tmp_path / 'torch' / 'a.py').write_text(content)
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, 'torch', raising=False)
    monkeypatch.setattr(versions, 'find_folder', lambda name: str(tmp_path))
    (finding,) = checks.check_torch_patches()
    assert finding.level == level
    assert level == OK or ('torch/a.py' in finding.text and 'apply.sh' in finding.advice)


def test_other_versions_of_torch_need_no_patch(monkeypatch):
    monkeypatch.setattr(checks, 'installed_versions', lambda: {'torch': '2.13.0'})
    assert checks.check_torch_patches() == []


# The deformable convolution and GPUs


T4 = ['T4', [7, 5], None]


def gpu_answers(*gpus, none=None, compiled='CPU (avx2)', missing=None, obstacle=None):
    operator = {'compiled': compiled, 'missing': missing, 'why_no_cuda': 'nvcc fails', 'obstacle': obstacle}
    return {
        'operator': Answer(operator),
        'gpus': Answer({'cuda': '10.0', 'none': none, 'gpus': list(gpus)}),
    }


@pytest.mark.parametrize(
    'settings, level, text, advice',
    [
        (dict(gpus=[]), OK, 'CPU (avx2)', ''),
        (dict(gpus=[T4], compiled='CPU (avx2) and CUDA'), OK, 'CUDA', ''),
        (dict(gpus=[T4]), WARNING, 'GPU: nvcc fails', 'CUDA toolkit 10.0'),
        (dict(gpus=[], compiled=None, missing='it was not built'), WARNING, 'it was not built', 'pip -v'),
        (dict(gpus=[], missing='not built', obstacle='no g++'), WARNING, 'not built', 'no g++'),
    ],
)
def test_the_operator(settings, level, text, advice):
    finding = checks.check_operator(gpu_answers(*settings.pop('gpus'), **settings))
    assert (finding.level, text in finding.text, advice in (finding.advice or '')) == (level, True, True)


def test_gpus_with_and_without_a_problem():
    first, second = checks.check_gpus(gpu_answers(['A10', [8, 6], 'cuda:0, A10, is not supported'], T4))
    assert (first.level, first.text) == (WARNING, 'cuda:0, A10, is not supported')
    assert '--device cpu' in first.advice
    assert (second.level, second.text) == (OK, 'cuda:1: T4, compute capability 7.5')


def test_a_driver_without_a_gpu(tmp_path, monkeypatch):
    answers = gpu_answers(none='torch is built without CUDA')
    for driver, level in ((tmp_path / 'none', OK), (tmp_path, WARNING)):
        monkeypatch.setattr(checks, 'DRIVER', str(driver))
        (finding,) = checks.check_gpus(answers)
        assert finding.level == level
    assert finding.text == 'torch is built without CUDA'


def test_torch_cannot_be_imported():
    answers = dict.fromkeys(('torch', 'operator', 'gpus'), Answer(problem='ImportError: libmkl'))
    for finding in [checks.check_operator(answers), *checks.check_gpus(answers)]:
        assert (finding.level, 'libmkl' in finding.text) == (WARNING, True)


# Files and folders


def test_weights(tmp_path):
    (tmp_path / 'empty.pth').write_bytes(b'')
    (tmp_path / 'good.pth').write_bytes(b'x' * 300000)
    names = ('', 'empty.pth', 'missing.pth', 'good.pth')
    answers = probe({name: ['read_file', str(tmp_path / name)] for name in names})
    assert [name for name in names if answers[name].problem is None] == ['good.pth']
    assert '0.3 MB' in answers['good.pth'].value


def test_output_below_a_file(tmp_path):
    (tmp_path / 'file').write_text('')
    paths = (tmp_path / 'file', tmp_path / 'file' / 'out')
    for answer in probe({str(path): ['write_into', str(path)] for path in paths}).values():
        assert 'NotADirectoryError' in answer.problem
