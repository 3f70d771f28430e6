"""``centernet fetch`` as a user calls it, against a server on this machine."""

import fcntl
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import pytest
from support.file_server import drop, page, status

from centernet import cli
from centernet.coco import CocoData
from centernet.fetch.catalog import RemoteFile, ZippedFile, ZippedFolder

SOURCE = os.path.join(os.path.dirname(__file__), os.pardir, os.pardir, 'src')
#: how often the test of kill -9 kills; more than a few are for a run by hand
KILLS = int(os.environ.get('KILLS', '8'))
MODEL = random.Random(1).getrandbits(8 * 200000).to_bytes(200000, 'big')
IMAGES = {
    f'{index:012d}.jpg': random.Random(index).getrandbits(8 * 3000).to_bytes(3000, 'big')
    for index in range(1, 61)
}
ANNOTATIONS = json.dumps(
    {
        'images': [
            {'id': int(name[:-4]), 'file_name': name, 'width': 9, 'height': 9} for name in sorted(IMAGES)
        ],
        'annotations': [],
        'categories': [{'id': 1, 'name': 'thing'}],
    }
).encode()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return file.getvalue()


@pytest.fixture
def files(server):
    """What the published files are in these tests; the server has them."""
    content = {
        'net.pth': MODEL,
        'val.zip': zipped({'val/' + name: data for name, data in IMAGES.items()}),
        'annotations.zip': zipped(
            {'annotations/instances_val.json': ANNOTATIONS, 'annotations/captions.json': b'{}'}
        ),
    }
    unpacked = {
        'val.zip': ZippedFolder('val', '.jpg', 60),
        'annotations.zip': ZippedFile(
            'annotations/instances_val.json', len(ANNOTATIONS), sha256(ANNOTATIONS)
        ),
    }
    server.files.update(('/' + name, data) for name, data in content.items())
    return tuple(
        RemoteFile(
            name,
            'weights' if name == 'net.pth' else 'coco',
            len(data),
            sha256(data),
            (server.address + '/' + name,),
            unpacked.get(name),
        )
        for name, data in content.items()
    )


@pytest.fixture
def places(tmp_path):
    """Flags."""
    models, data = str(tmp_path / 'models'), str(tmp_path / 'coco')
    return ['--models', models, '--data', data, '--attempts', '2', '--timeout', '5']


@pytest.fixture
def fetch(files, places, capsys, monkeypatch):
    """Run it; returns (exit status, stdout, stderr)."""
    monkeypatch.setattr('centernet.fetch.catalog.FILES', files)

    def run(*words):
        status = cli.main(['fetch', '--no-progress'] + places + list(words))
        out, err = capsys.readouterr()
        return status, out, err

    return run


def states(out):
    return [line.split()[0] for line in out.splitlines() if line and not line.startswith('next')]


def expected(tmp_path):
    """Path -> content of every file."""
    found = {str(tmp_path / 'coco' / 'val' / name): data for name, data in IMAGES.items()}
    found[str(tmp_path / 'coco' / 'annotations' / 'instances_val.json')] = ANNOTATIONS
    found[str(tmp_path / 'models' / 'net.pth')] = MODEL
    return found


def is_complete(tmp_path):
    """Every file is there and valid, and nothing else."""
    for path, data in expected(tmp_path).items():
        with open(path, 'rb') as file:
            assert file.read() == data
    assert os.listdir(str(tmp_path / 'models')) == ['net.pth']
    assert sorted(os.listdir(str(tmp_path / 'coco'))) == ['annotations', 'val']
    assert len(os.listdir(str(tmp_path / 'coco' / 'val'))) == 60
    return True


def test_fetch_and_then_keep(fetch, server, tmp_path, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    status, out, _ = fetch()
    assert status == 0 and is_complete(tmp_path)
    assert out.splitlines() == [
        f'fetched  models/net.pth from {server.address}/net.pth',
        f'fetched  coco/val from {server.address}/val.zip',
        f'fetched  coco/annotations/instances_val.json from {server.address}/annotations.zip',
        '',
        'next: centernet eval-pth --weights models/net.pth --data coco',
    ]
    data = CocoData.load(str(tmp_path / 'coco'))  # the data of eval-pth
    assert len(data.image_ids) == 60 and os.path.isfile(data.file(60))
    server.requests.clear()
    monkeypatch.setattr('centernet.fetch.install.ensure_folder', None)  # the folders may be read-only
    status, out, _ = fetch()
    assert status == 0 and is_complete(tmp_path)
    assert states(out) == ['valid'] * 3 and 'next:' in out
    assert server.requests == []


def test_a_group_a_name_and_json(fetch, server, tmp_path):
    status, out, err = fetch('weights', '--json')
    assert status == 0
    assert json.loads(out) == [
        {
            'name': 'net.pth',
            'state': 'fetched',
            'path': str(tmp_path / 'models' / 'net.pth'),
            'detail': server.address + '/net.pth',
        }
    ]
    assert 'next:' not in err
    assert fetch('annotations.zip')[0] == 0
    assert os.listdir(str(tmp_path / 'coco')) == ['annotations']
    assert [path for path, _, _ in server.requests] == ['/net.pth', '/annotations.zip']


def test_verify_only(fetch, server, tmp_path):
    status, out, _ = fetch('--verify-only')
    assert status == 1 and states(out) == ['missing'] * 3
    assert not (tmp_path / 'coco').exists() and server.requests == []
    fetch()
    server.requests.clear()
    status, out, _ = fetch('--verify-only')
    assert status == 0 and states(out) == ['valid'] * 3
    (tmp_path / 'coco' / 'val' / f'{7:012d}.jpg').unlink()
    (tmp_path / 'coco' / 'val' / f'{8:012d}.jpg').write_bytes(b'')
    (tmp_path / 'models' / 'net.pth').write_bytes(MODEL[:-1] + b'?')
    status, out, _ = fetch('--verify-only')
    assert status == 1 and states(out) == ['invalid', 'missing', 'valid']
    assert '58 of 60 images' in out
    assert server.requests == []


def test_missing_images_are_fetched_again(fetch, server, tmp_path):
    fetch()
    server.requests.clear()
    (tmp_path / 'coco' / 'val' / f'{7:012d}.jpg').unlink()
    assert fetch()[0] == 0 and is_complete(tmp_path)
    assert [path for path, _, _ in server.requests] == ['/val.zip']


def test_an_interrupted_unpacking_is_resumed(fetch, server, tmp_path):
    fetch()
    server.requests.clear()
    (tmp_path / 'coco' / 'val' / f'{7:012d}.jpg').unlink()
    (tmp_path / 'coco' / '.val.zip').write_bytes(server.files['/val.zip'])
    assert fetch()[0] == 0 and is_complete(tmp_path)
    (tmp_path / 'coco' / '.val.zip').write_bytes(server.files['/val.zip'])  # killed before it was removed
    assert fetch()[0] == 0 and is_complete(tmp_path)
    assert server.requests == []


def test_other_files_are_not_replaced(fetch, tmp_path):
    own = {
        tmp_path / 'models' / 'net.pth': b'fine-tuned',
        tmp_path / 'coco' / 'val': b'not a folder',
        tmp_path / 'coco' / 'annotations' / 'instances_val.json': b'{}',
    }
    for path, data in own.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    status, out, _ = fetch()
    assert status == 1 and states(out) == ['invalid'] * 3
    assert out.count('move it away') == 3
    assert all(path.read_bytes() == data for path, data in own.items())


def test_files_of_the_user_are_used(fetch, server, tmp_path):
    (tmp_path / 'models').mkdir()
    (tmp_path / 'models' / 'net.pth').write_bytes(MODEL)
    (tmp_path / 'coco').mkdir()
    (tmp_path / 'coco' / 'val.zip').write_bytes(server.files['/val.zip'])
    (tmp_path / 'coco' / 'annotations.zip').write_bytes(b'something else')
    status, out, _ = fetch()
    assert status == 1 and states(out) == ['valid', 'fetched', 'failed']
    assert 'annotations.zip differs' in out
    assert server.requests == []
    assert len(os.listdir(str(tmp_path / 'coco' / 'val'))) == 60
    assert (tmp_path / 'coco' / 'val.zip').exists()


def test_one_failure_does_not_stop_the_others(fetch, server, tmp_path):
    server.faults['/net.pth'] = [page('<html><title>Google Drive - Quota exceeded</title></html>')]
    server.files['/val.zip'] = server.files['/val.zip'][:-1] + b'?'
    status, out, _ = fetch()
    assert status == 1 and states(out) == ['failed', 'failed', 'fetched']
    assert 'quota' in out and 'SHA-256' in out and 'next:' not in out
    assert os.listdir(str(tmp_path / 'models')) == []
    assert os.listdir(str(tmp_path / 'coco')) == ['annotations']


def test_a_mirror_comes_first(fetch, server):
    server.files['/ours/net.pth'] = MODEL
    status, out, _ = fetch('weights', '--mirror', server.address + '/ours')
    assert status == 0 and f'{server.address}/ours/net.pth' in out


@pytest.mark.parametrize(
    'words, message',
    [
        (['music'], "'music'"),
        (['--mirror', '/srv/files'], '--mirror'),
        (['--timeout', '0'], '--timeout'),
        (['--timeout', 'nan'], '--timeout'),
        (['--attempts', '0'], '--attempts'),
        (['--models', '/proc/models'], '/proc/models'),
    ],
)
def test_invalid_options(fetch, words, message):
    status, _, err = fetch(*words)
    assert status == 2
    assert message in err.splitlines()[-1] and 'Traceback' not in err


def test_one_process_at_a_time(fetch, tmp_path):
    (tmp_path / 'models').mkdir()
    handle = os.open(str(tmp_path / 'models'), os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        status, _, err = fetch('weights')
        assert status == 2 and 'another process' in err
    finally:
        os.close(handle)
    assert fetch('weights')[0] == 0


# Signals


def start(files, *words):
    program = (
        'import sys\nfrom centernet import cli\nfrom centernet.fetch import catalog\n'
        'catalog.FILES = eval(sys.argv[1], dict(vars(catalog)))\nsys.exit(cli.main(sys.argv[2:]))'
    )
    return subprocess.Popen(
        [sys.executable, '-c', program, repr(files), 'fetch', *words],
        env=dict(os.environ, PYTHONPATH=SOURCE),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(
    'number, status', [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_resume_after_a_signal(fetch, files, places, server, tmp_path, number, status):
    server.pause = 0.2
    part = tmp_path / 'models' / 'net.pth.part'
    with start(files, 'weights', *places) as run:
        try:
            deadline = time.time() + 60
            while not part.exists() or part.stat().st_size < 30000:
                assert run.poll() is None and time.time() < deadline
                time.sleep(0.01)
        finally:
            run.send_signal(number)
            _, err = run.communicate(timeout=60)
    assert run.returncode == status
    assert b'Traceback' not in err
    assert os.listdir(str(tmp_path / 'models')) == ['net.pth.part']
    size = part.stat().st_size
    server.pause = 0
    assert fetch()[0] == 0 and is_complete(tmp_path)
    assert server.ranges('/net.pth') == [None, f'bytes={size}-']


@pytest.mark.slow
def test_kill_often(fetch, files, places, server, tmp_path):
    server.pause = 0.01
    seed = random.randrange(1 << 30)
    points = random.Random(seed)
    for _ in range(KILLS):
        server.requests.clear()
        with start(files, *places) as run:
            deadline = time.time() + 60
            while run.poll() is None and not server.requests:
                assert time.time() < deadline
                time.sleep(0.001)
            time.sleep(points.uniform(0, 0.4))
            run.kill()
        for path, data in expected(tmp_path).items():  # a file may be missing, but not damaged
            if os.path.exists(path):
                with open(path, 'rb') as file:
                    assert file.read() == data, seed
        if run.returncode == 0:
            shutil.rmtree(str(tmp_path / 'coco'))
        assert run.returncode in (0, -9), seed
    assert fetch()[0] == 0 and is_complete(tmp_path)


def test_no_progress_bar_without_a_terminal(files, places, server):
    server.faults['/net.pth'] = [drop(150000), status(500)]
    with start(files, 'weights', *places[:-4]) as run:
        out, err = run.communicate(timeout=60)
    assert run.returncode == 0
    assert b'retrying' in err and b'%' not in out + err


def test_help_states_the_defaults(capsys):
    assert cli.main(['fetch', '--help']) == 0
    text = ' '.join(capsys.readouterr().out.split())
    assert re.search(r'--attempts N .*?\(default: 5\)', text)
    assert re.search(r'--timeout SECONDS .*?\(default: 60\)', text)
