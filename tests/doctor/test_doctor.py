"""``centernet doctor`` as users run it, also with broken packages."""

import json
import os
import subprocess
import sys

import pytest
import torch

from centernet import cli
from centernet.doctor.checks import check_lock
from centernet.kernels import compiled
from centernet.sample import SAMPLE_WEIGHTS, sample_folder

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(cli.__file__)))
COMMAND = [sys.executable, '-m', 'centernet', 'doctor']
# An environment with other versions, such as a user's own, is missing something, but not in these tests.
LOCKED = check_lock()[0].level == 'ok'


def doctor(*flags, shadow=''):
    """Return (topics of what is missing, topic -> finding). ``shadow``: a folder of fake packages."""
    paths = [str(shadow), SOURCE, os.environ.get('PYTHONPATH', '')]
    done = subprocess.run(
        [*COMMAND, '--json', *map(str, flags)],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, paths))),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    assert done.stderr == ''
    document = json.loads(done.stdout)
    missing = [item['topic'] for item in document['findings'] if item['level'] in ('missing', 'differs')]
    assert document['exit_status'] == done.returncode == int(bool(missing))
    return set(missing), {item['topic']: item for item in document['findings']}


def test_nothing_is_missing_here():
    missing, findings = doctor()
    assert missing == (set() if LOCKED else {'lock'})
    assert findings['torch']['text'] == torch.__version__
    assert ('modern' if sys.version_info >= (3, 9) else 'pinned') in findings['system']['text']
    assert ('torch patches' in findings) == torch.__version__.startswith('1.0.0')
    assert (compiled.description() or compiled.MISSING) in findings['deformable convolution']['text']


def test_text_has_a_line_per_item(capsys):
    status = cli.main(['doctor', '--weights', '/missing/model.pth'])
    lines = capsys.readouterr().out.splitlines()
    assert status == 1
    assert ['ok', 'torch', torch.__version__] in [line.split() for line in lines]
    assert any(line.startswith('missing  --weights ') and '/missing/model.pth' in line for line in lines)
    assert lines[-1].startswith('missing: ') and '--weights' in lines[-1]


def test_everything_named_is_there(tmp_path):
    data = sample_folder(str(tmp_path), 2)
    missing, findings = doctor(
        '--weights', SAMPLE_WEIGHTS, '--data', data, '--device', 'cpu', '--output', tmp_path / 'new' / 'out'
    )
    assert missing <= {'lock'}
    assert {'--weights', '--data', '--device', '--output'} <= set(findings)
    assert '2 images' in findings['--data']['text']
    assert not (tmp_path / 'new').exists()


def test_everything_named_is_missing():
    missing, findings = doctor(
        '--weights', '/missing/model.pth', '--data', '/missing', '--device', 'gpu', '--output', '/proc/out'
    )
    assert missing - {'lock'} == {'--data', '--device', '--output', '--weights'}
    assert "No such file or directory: '/missing/model.pth'" in findings['--weights']['text']
    assert '/missing' in findings['--data']['text']
    assert "'gpu'" in findings['--device']['text']
    assert '/proc' in findings['--output']['text']


@pytest.mark.parametrize(
    'name, code, reason',
    [
        ('torch', 'raise ImportError("libmkl_intel.so: not found")', 'libmkl_intel.so'),
        ('torch', 'import os; os.abort()', 'SIGABRT'),
        pytest.param('numpy', 'import os; os.abort()', 'SIGABRT', marks=pytest.mark.slow),
        ('onnxruntime', '1 /', 'SyntaxError'),
        pytest.param('tqdm', 'raise SystemExit("no licence")', 'no licence', marks=pytest.mark.slow),
    ],
)
def test_a_broken_package_leaves_the_rest_of_the_report(tmp_path, name, code, reason):
    (tmp_path / name).mkdir()
    (tmp_path / name / '__init__.py').write_text(code)
    missing, findings = doctor(shadow=tmp_path)
    assert name in missing
    assert reason in findings[name]['text']
    assert {'system', 'lock', 'deformable convolution', 'GPU'} <= set(findings)
    assert findings['requests']['level'] == 'ok'
    assert name == 'numpy' or findings['numpy']['level'] == 'ok'  # most packages need numpy


def test_a_version_that_differs_from_the_lock(tmp_path):
    (tmp_path / 'tqdm-1.0.dist-info').mkdir()
    (tmp_path / 'tqdm-1.0.dist-info' / 'METADATA').write_text('Name: tqdm\nVersion: 1.0\n')
    missing, findings = doctor(shadow=tmp_path)
    assert missing == {'lock'} and findings['lock']['level'] == 'differs'
    assert 'tqdm 1.0 (' in findings['lock']['text']
