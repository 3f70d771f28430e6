"""``centernet doctor`` as a user meets it, also where things are broken."""

import json
import os
import resource
import subprocess
import sys

import pytest
import torch

from centernet import cli
from centernet.doctor import installed
from centernet.sample import SAMPLE_WEIGHTS, sample_folder

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(cli.__file__)))
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has a GPU')
#: an environment other than the lock's (an oracle's, a user's own) is a mistake to the doctor, and none to
#: these tests
LOCKED = installed.check_lock()[0].level == 'ok'


def doctor(*words, **environment):
    """(exit status, findings by topic, stderr) of a process of its own."""
    search = os.pathsep.join(
        path for path in (environment.pop('shadow', None), SOURCE, os.environ.get('PYTHONPATH')) if path
    )
    done = subprocess.run(
        [sys.executable, '-m', 'centernet', 'doctor', '--json'] + [str(word) for word in words],
        env=dict(os.environ, PYTHONPATH=search, **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    assert done.stdout, done.stderr
    content = json.loads(done.stdout)
    assert content['exit_status'] == done.returncode
    assert 'Traceback' not in done.stderr
    findings = {}
    for finding in content['findings']:
        findings.setdefault(finding['topic'], []).append(finding)
    return done.returncode, findings, done.stderr


def missing(findings):
    return sorted(
        {
            topic
            for topic, found in findings.items()
            if any(finding['level'] == 'missing' for finding in found)
        }
        - (set() if LOCKED else {'lock'})
    )


@pytest.fixture(scope='module')
def usual():
    return doctor()


def test_here_nothing_is_missing(usual):
    status, findings, err = usual
    assert missing(findings) == []
    assert status == (0 if LOCKED else 1)
    assert err == ''


def test_what_it_finds_is_what_is_here(usual):
    from centernet.dcn import compiled

    _, findings, _ = usual
    assert findings['system'][0]['details']['executable'] == sys.executable
    assert findings['packages'][0]['details']['torch'] == torch.__version__
    assert findings['DCN'][0]['details']['compiled'] == compiled.description()
    assert findings['lock'][0]['details']['stack'] == ('pinned' if sys.version_info < (3, 7) else 'modern')
    assert ('torch patches' in findings) == torch.__version__.startswith('1.0.0')
    assert findings['space'][0]['details']['free'] > 0


def test_text_for_people(capsys):
    status = cli.main(['doctor'])
    out, _ = capsys.readouterr()
    assert status == (0 if LOCKED else 1)
    assert f'torch {torch.__version__}' in out
    assert ('nothing that was asked for is missing' in out) == LOCKED


def test_all_that_was_asked_for_is_there(tmp_path):
    data = sample_folder(str(tmp_path), 2)
    _, findings, _ = doctor(
        '--weights', SAMPLE_WEIGHTS, '--data', data, '--device', 'cpu', '--output', tmp_path / 'new' / 'out'
    )
    assert missing(findings) == []
    assert {'--weights', '--data', '--device', '--output'} <= set(findings)
    assert '2 images' in findings['--data'][0]['text']
    assert not (tmp_path / 'new').exists()


def test_what_was_asked_for_and_is_missing():
    status, findings, _ = doctor(
        '--weights', '/nowhere/model.pth', '--data', '/nowhere', '--device', 'gpu', '--output', '/proc/out'
    )
    assert status == 1
    assert missing(findings) == ['--data', '--device', '--output', '--weights']
    for topic, text in (
        ('--weights', 'no such file: /nowhere/model.pth'),
        ('--data', 'no such data folder: /nowhere'),
        ('--device', "unknown device 'gpu'"),
        ('--output', '/proc/out cannot be made'),
    ):
        assert text in findings[topic][0]['text']


@NO_GPU
def test_a_gpu_that_is_not_there():
    status, findings, _ = doctor('--device', 'cuda')
    assert (status, missing(findings)) == (1, ['--device'])
    assert 'cuda:0 was asked for' in findings['--device'][0]['text']


@pytest.mark.parametrize(
    'name, code, why',
    [
        ('torch', 'raise ImportError("libmkl_intel.so is gone")', 'libmkl_intel.so is gone'),
        ('torch', 'import os; os.abort()', 'SIGABRT'),
        ('numpy', 'raise ImportError("libblas.so is gone")', 'libblas.so is gone'),
        ('numpy', 'import os; os.abort()', 'SIGABRT'),
        ('onnxruntime', '1 /', 'SyntaxError'),
    ],
)
def test_a_broken_package_is_named_and_the_rest_is_still_checked(tmp_path, name, code, why):
    (tmp_path / name).mkdir()
    (tmp_path / name / '__init__.py').write_text(code + '\n')
    status, findings, _ = doctor(shadow=str(tmp_path))
    assert status == 1
    assert 'packages' in missing(findings)
    broken = [finding['text'] for finding in findings['packages'] if finding['level'] == 'missing']
    assert any(text.startswith(f'{name} cannot be imported') and why in text for text in broken), broken
    assert {'system', 'lock', 'DCN', 'GPU', 'compilers', 'weights', 'output', 'space'} <= set(findings)
    versions = findings['packages'][0]['details']
    assert 'tqdm' in versions and name not in versions
    if name != 'numpy':
        assert 'numpy' in versions  # and what stands on numpy may fail with it


def test_another_version_than_the_lock_wants(tmp_path):
    metadata = tmp_path / 'tqdm-1.0.dist-info'
    metadata.mkdir()
    (metadata / 'METADATA').write_text('Name: tqdm\nVersion: 1.0\n')
    status, findings, _ = doctor(shadow=str(tmp_path))
    assert status == 1
    assert 'tqdm 1.0 (' in findings['lock'][0]['text']


def seconds_of(command):
    """CPU seconds of a process and its children; on a busy machine the clock says less."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, env=dict(os.environ, PYTHONPATH=SOURCE))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_it_is_not_slow():
    # torch alone takes most of the time, in a process of its own beside the others
    torch_alone = seconds_of([sys.executable, '-c', 'import torch'])
    assert seconds_of([sys.executable, '-m', 'centernet', 'doctor']) < 2 * torch_alone + 3
