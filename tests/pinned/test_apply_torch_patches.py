"""patches/torch-1.0.0/apply.sh, on copies of torch's files."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.torch_files import (
    FILES,
    PATCHES,
    SITE,
    VERSION,
    checksums,
    needs_patch,
    needs_torch_100,
    restore_original,
)

from centernet.system.files import sha256

APPLY = os.path.join(PATCHES, 'apply.sh')
ORIGINAL, PATCHED = checksums('original.sha256'), checksums('patched.sha256')


def put_interpreter(path, site):
    """Write an executable that acts as an interpreter whose packages are in ``site``."""
    path.write_text(f'#!/bin/sh\nPYTHONPATH={site} exec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def torch(tmp_path):
    """A folder of packages with the relevant parts of an unpatched torch 1.0.0, and ``python`` next to it."""
    site = tmp_path / 'site'
    restore_original(site)
    (site / 'torch' / '__init__.py').write_text('raise ImportError("torch was imported")\n')
    (site / 'torch' / 'version.py').write_text("__version__ = '1.0.0'\ndebug = False\ncuda = '9.0.176'\n")
    put_interpreter(tmp_path / 'python', site)
    return site


def apply(python, **environment):
    """Return the exit status and the output."""
    done = subprocess.run(
        [APPLY, str(python)],
        env=dict(os.environ, **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    return done.returncode, done.stdout


def states(site):
    return {path: sha256(str(site / path)) for path in FILES.values()}


def names(site):
    return sorted(os.path.join(folder, name) for folder, _, found in os.walk(str(site)) for name in found)


pytestmark = needs_patch


@needs_torch_100
def test_fresh_and_twice(torch, tmp_path):
    before = names(torch)
    (torch / 'torch' / 'onnx' / 'symbolic.py').chmod(0o640)
    status, said = apply(tmp_path / 'python')
    assert (status, states(torch)) == (0, PATCHED), said
    assert '0001' in said and '0002' in said
    assert names(torch) == before
    assert stat.S_IMODE((torch / 'torch' / 'onnx' / 'symbolic.py').stat().st_mode) == 0o640
    stamps = [(torch / path).stat().st_mtime for path in FILES.values()]
    status, said = apply(tmp_path / 'python')
    assert (status, states(torch)) == (0, PATCHED)
    assert 'already' in said
    assert [(torch / path).stat().st_mtime for path in FILES.values()] == stamps


@needs_torch_100
def test_an_interrupted_run_is_completed(torch, tmp_path):
    shutil.copyfile(
        os.path.join(SITE, 'torch/autograd/function.py'), str(torch / 'torch' / 'autograd' / 'function.py')
    )
    status, said = apply(tmp_path / 'python')
    assert (status, states(torch)) == (0, PATCHED)
    assert '0001' not in said and '0002' in said


@needs_torch_100
@pytest.mark.parametrize('path', sorted(FILES.values()))
def test_an_altered_file_is_rejected_and_nothing_changes(torch, tmp_path, path):
    with (torch / path).open('a') as file:
        file.write('\n')
    before = states(torch)
    status, said = apply(tmp_path / 'python')
    assert (status, states(torch)) == (2, before)
    assert str(torch / path) in said


@needs_torch_100
def test_a_missing_file_is_rejected(torch, tmp_path):
    (torch / 'torch' / 'onnx' / 'symbolic.py').unlink()
    status, said = apply(tmp_path / 'python')
    assert status == 2
    assert 'symbolic.py' in said and 'missing' in said
    assert sha256(str(torch / 'torch/autograd/function.py')) == ORIGINAL['torch/autograd/function.py']


@needs_torch_100
@pytest.mark.parametrize('version', ['1.0.1', '1.0.0.post2', '2.13.0', '11000'])
def test_another_torch_is_rejected(torch, tmp_path, version):
    # even if the two files are the same
    (torch / 'torch' / 'version.py').write_text(f"__version__ = '{version}'\n")
    status, said = apply(tmp_path / 'python')
    assert (status, states(torch)) == (2, ORIGINAL)
    assert version in said and '1.0.0' in said


@pytest.mark.skipif(VERSION == '1.0.0', reason='needs a torch other than 1.0.0')
def test_the_torch_of_another_stack_is_rejected(tmp_path):
    (tmp_path / 'site' / 'torch').mkdir(parents=True)
    (tmp_path / 'site' / 'torch' / '__init__.py').write_text('')
    shutil.copyfile(
        os.path.join(SITE, 'torch', 'version.py'), str(tmp_path / 'site' / 'torch' / 'version.py')
    )
    status, said = apply(put_interpreter(tmp_path / 'python', tmp_path / 'site'))
    assert status == 2
    assert VERSION in said and '1.0.0' in said


@pytest.fixture
def open_folder():
    """A temporary folder open to other users; pytest's own are private."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield folder
        for path, folders, _ in os.walk(folder):  # root in a container may not be allowed to write everywhere
            for name in folders:
                os.chmod(os.path.join(path, name), 0o755)


@needs_torch_100
@pytest.mark.parametrize('closed', ['autograd', 'onnx'])
def test_a_folder_that_cannot_be_written(torch, open_folder, closed):
    # Root may write everywhere, so the script runs as nobody, with a shell script in place of Python.
    site, script, python = (Path(open_folder) / name for name in ('site', 'patches', 'python'))
    shutil.copytree(str(torch), str(site))
    shutil.copytree(PATCHES, str(script))
    python.write_text(f'#!/bin/sh\necho {site}\n')
    python.chmod(0o755)
    for folder, _, found in os.walk(open_folder):
        for name in found:
            os.chmod(os.path.join(folder, name), 0o755)
        os.chmod(folder, 0o777)
    (site / 'torch' / closed).chmod(0o555)
    before = names(site)

    def become_nobody():
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)

    done = subprocess.run(
        [str(script / 'apply.sh'), str(python)],
        preexec_fn=become_nobody,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    assert (done.returncode, states(site), names(site)) == (2, ORIGINAL, before), done.stdout
    assert str(site / 'torch' / closed) in done.stdout


@needs_torch_100
def test_without_the_program_patch(torch, tmp_path):
    tools = tmp_path / 'tools'
    tools.mkdir()
    for tool in ('awk', 'bash', 'cut', 'dirname', 'sed', 'sh', 'sha256sum'):
        (tools / tool).symlink_to(shutil.which(tool))
    status, said = apply(tmp_path / 'python', PATH=str(tools))
    assert (status, states(torch)) == (2, ORIGINAL)
    assert 'patch' in said and 'missing' in said


def test_no_torch_and_no_interpreter(tmp_path):
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\necho\n')
    python.chmod(0o755)
    status, said = apply(python)
    assert (status, 'torch' in said) == (2, True), said
    status, said = apply(tmp_path / 'nowhere')
    assert (status, 'nowhere' in said) == (2, True), said
