"""``centernet fetch`` as a user calls it, against a server on this machine."""

import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter

import pytest
from support.file_server import drop, page, status

from centernet import cli
from centernet.coco import CocoData

SOURCE = os.path.join(os.path.dirname(__file__), os.pardir, os.pardir, 'src')
MODEL = random.Random(1).getrandbits(8 * 200000).to_bytes(200000, 'big')
PICTURES = {
    f'{index:012d}.jpg': random.Random(index).getrandbits(8 * 3000).to_bytes(3000, 'big')
    for index in range(1, 61)
}
ANNOTATIONS = json.dumps(
    {
        'images': [
            {'id': int(name[:-4]), 'file_name': name, 'width': 9, 'height': 9} for name in sorted(PICTURES)
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
def mirror(server, tmp_path):
    """The server with all that the manifest names; returns the words that make ``centernet fetch`` use it."""
    files = {
        'net.pth': MODEL,
        'val.zip': zipped({'val/' + name: data for name, data in PICTURES.items()}),
        'annotations.zip': zipped(
            {'annotations/instances_val.json': ANNOTATIONS, 'annotations/captions.json': b'{}'}
        ),
    }
    server.files.update(('/' + name, data) for name, data in files.items())
    unpack = {
        'val.zip': [{'folder': 'val', 'suffix': '.jpg', 'files': 60, 'bytes_at_most': 200000}],
        'annotations.zip': [
            {
                'file': 'annotations/instances_val.json',
                'bytes': len(ANNOTATIONS),
                'sha256': sha256(ANNOTATIONS),
            }
        ],
    }
    entries = [
        dict(
            {
                'name': name,
                'group': 'weights' if name == 'net.pth' else 'coco',
                'bytes': len(data),
                'sha256': sha256(data),
                'mirrors': [server.address + '/' + name],
            },
            **({'unpack': unpack[name]} if name in unpack else {}),
        )
        for name, data in files.items()
    ]
    (tmp_path / 'manifest.json').write_text(json.dumps({'files': entries}))
    return [
        '--manifest',
        str(tmp_path / 'manifest.json'),
        '--models',
        str(tmp_path / 'models'),
        '--data',
        str(tmp_path / 'coco'),
        '--attempts',
        '2',
        '--timeout',
        '5',
    ]


@pytest.fixture
def fetch(mirror, capsys):
    """Run it; returns (status, stdout, stderr)."""

    def run(*words):
        status = cli.main(['fetch', '--no-progress'] + mirror + list(words))
        out, err = capsys.readouterr()
        assert 'Traceback' not in err
        return (status, out, err)

    return run


def expected(tmp_path):
    """Path -> content of all that is to come."""
    found = {str(tmp_path / 'coco' / 'val' / name): data for name, data in PICTURES.items()}
    found[str(tmp_path / 'coco' / 'annotations' / 'instances_val.json')] = ANNOTATIONS
    found[str(tmp_path / 'models' / 'net.pth')] = MODEL
    return found


def is_whole(tmp_path):
    for path, data in expected(tmp_path).items():
        with open(path, 'rb') as file:
            assert file.read() == data
    assert sorted(os.listdir(str(tmp_path / 'models'))) == ['net.pth']
    assert sorted(os.listdir(str(tmp_path / 'coco'))) == ['.fetch', 'annotations', 'val']
    assert os.listdir(str(tmp_path / 'coco' / '.fetch')) == ['val.json']
    return True


def test_all_of_it_and_not_twice(fetch, server, tmp_path):
    status, out, _ = fetch()
    assert status == 0 and is_whole(tmp_path)
    assert out.splitlines() == [
        f'fetched  {path}  from {server.address}/{name}'
        for path, name in (
            (tmp_path / 'models' / 'net.pth', 'net.pth'),
            (tmp_path / 'coco' / 'val', 'val.zip'),
            (tmp_path / 'coco' / 'annotations' / 'instances_val.json', 'annotations.zip'),
        )
    ]
    data = CocoData.load(str(tmp_path / 'coco'))  # eval-pth's --data takes it
    assert len(data.image_ids) == 60 and os.path.isfile(data.file(60))
    server.requests.clear()
    status, out, _ = fetch()
    assert status == 0 and is_whole(tmp_path)
    assert [line.split()[0] for line in out.splitlines()] == ['right'] * 3
    assert server.requests == []


def test_a_group_a_name_and_json(fetch, server, tmp_path):
    status, out, _ = fetch('weights', '--json')
    assert status == 0
    assert json.loads(out) == [
        {
            'name': 'net.pth',
            'group': 'weights',
            'state': 'fetched',
            'paths': [str(tmp_path / 'models' / 'net.pth')],
            'why': '',
            'source': server.address + '/net.pth',
        }
    ]
    assert fetch('annotations.zip')[0] == 0
    assert sorted(os.listdir(str(tmp_path / 'coco'))) == ['.fetch', 'annotations']
    assert [path for path, _, _ in server.requests] == ['/net.pth', '/annotations.zip']


def test_verify_only_reads_all_and_changes_nothing(fetch, server, tmp_path):
    status, out, _ = fetch('--verify-only')
    assert status == 1
    assert [line.split()[0] for line in out.splitlines()] == ['missing'] * 3
    assert not (tmp_path / 'coco').exists() and server.requests == []
    fetch()
    server.requests.clear()
    assert fetch('--verify-only')[0] == 0
    picture = tmp_path / 'coco' / 'val' / f'{7:012d}.jpg'
    picture.write_bytes(b'x' * 3000)
    status, out, _ = fetch('--verify-only')
    assert status == 1
    assert 'damaged  {}'.format(tmp_path / 'coco' / 'val') in out and '000000000007.jpg' in out
    (tmp_path / 'models' / 'net.pth').write_bytes(MODEL[:-1])
    assert fetch('--verify-only', 'weights')[0] == 1
    assert server.requests == [] and picture.read_bytes() == b'x' * 3000


def test_what_is_missing_is_brought_back(fetch, server, tmp_path):
    fetch()
    server.requests.clear()
    (tmp_path / 'coco' / 'val' / f'{7:012d}.jpg').unlink()
    assert fetch()[0] == 0 and is_whole(tmp_path)
    assert [path for path, _, _ in server.requests] == ['/val.zip']


def test_what_a_killed_run_left_is_removed(fetch, tmp_path):
    fetch()
    work = tmp_path / 'coco' / '.fetch'
    (work / 'val.zip').write_bytes(b'it was killed before it removed this')
    (work / 'val.old').mkdir()
    (work / 'val.old' / '1.jpg').write_bytes(b'or this')
    assert fetch()[0] == 0 and is_whole(tmp_path)


def test_a_folder_that_is_right_may_be_read_only(fetch, tmp_path, monkeypatch):
    fetch()
    monkeypatch.setattr('centernet.fetch.unpacking.ensure_folder', None)  # root may write everywhere
    monkeypatch.setattr('centernet.fetch.fetching.ensure_folder', None)
    assert fetch()[0] == 0


def test_other_files_are_left_alone(fetch, tmp_path):
    (tmp_path / 'models').mkdir()
    (tmp_path / 'models' / 'net.pth').write_bytes(b'fine-tuned')
    (tmp_path / 'coco' / 'val').mkdir(parents=True)
    (tmp_path / 'coco' / 'val' / 'own.jpg').write_bytes(b'mine')
    status, out, _ = fetch()
    assert status == 1
    assert out.count('foreign') == 2 and out.count('--replace') == 2 and out.count('fetched') == 1
    assert (tmp_path / 'models' / 'net.pth').read_bytes() == b'fine-tuned'
    assert (tmp_path / 'coco' / 'val' / 'own.jpg').exists()
    assert fetch('--replace')[0] == 0 and is_whole(tmp_path)


def test_a_data_set_that_was_there(fetch, tmp_path):
    (tmp_path / 'coco' / 'val').mkdir(parents=True)
    for name, data in PICTURES.items():
        (tmp_path / 'coco' / 'val' / name).write_bytes(data)
    status, out, _ = fetch('val.zip')
    assert status == 0 and 'unknown' in out and 'no record' in out
    assert fetch('val.zip', '--verify-only')[0] == 1


def test_a_zip_that_was_there(fetch, server, tmp_path):
    (tmp_path / 'coco').mkdir()
    (tmp_path / 'coco' / 'val.zip').write_bytes(server.files['/val.zip'])
    assert fetch('val.zip')[0] == 0
    assert server.requests == []
    assert len(os.listdir(str(tmp_path / 'coco' / 'val'))) == 60
    assert (tmp_path / 'coco' / 'val.zip').exists()


def test_one_that_fails_keeps_no_other(fetch, server, tmp_path):
    server.faults['/net.pth'] = [page('<html><title>Google Drive - Quota exceeded</title></html>')]
    server.files['/val.zip'] = server.files['/val.zip'][:-1] + b'?'
    status, out, _ = fetch()
    assert status == 1
    assert [line.split()[0] for line in out.splitlines() if not line.startswith(' ')] == [
        'failed',
        'failed',
        'fetched',
    ]
    assert 'quota of downloads' in out and 'not the right content' in out
    assert '{} it is checked'.format(str(tmp_path / 'coco' / 'val.zip:')) in out
    assert not (tmp_path / 'models' / 'net.pth').exists() and not (tmp_path / 'coco' / 'val').exists()


def test_a_mirror_of_one_s_own_comes_first(fetch, server):
    server.files['/ours/net.pth'] = MODEL
    status, out, _ = fetch('weights', '--mirror', server.address + '/ours')
    assert status == 0 and out.strip().endswith(f'from {server.address}/ours/net.pth')


@pytest.mark.parametrize(
    'words, message',
    [
        (['music'], "nothing is called 'music'"),
        (['--mirror', '/srv/files'], 'a mirror is an address'),
        (['--timeout', '0'], '--timeout'),
        (['--timeout', 'nan'], '--timeout'),
        (['--attempts', '0'], '--attempts'),
        (['--manifest', '/nowhere.json'], '/nowhere.json'),
        (['--models', '/proc/models'], 'cannot be written'),
    ],
)
def test_mistakes_are_said_in_one_line(fetch, words, message):
    status, _, err = fetch(*words)
    assert status == 2
    assert message in err.splitlines()[-1]


def test_a_disk_that_is_too_small_is_said_before(fetch, server, monkeypatch):
    monkeypatch.setattr(
        'centernet.fetch.fetching.shutil.disk_usage', lambda path: type('Usage', (), {'free': 100000})
    )
    status, _, err = fetch('coco')
    assert status == 2 and 'GB free' in err
    assert server.requests == []


def start(mirror, *words, **environment):
    environment = dict(os.environ, PYTHONPATH=SOURCE, **environment)
    return subprocess.Popen(
        [sys.executable, '-m', 'centernet', 'fetch'] + mirror + list(words),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(
    'number, status', [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_signal_and_then_again(fetch, mirror, server, tmp_path, number, status):
    server.pause = 0.2
    run = start(mirror, 'weights')
    part = tmp_path / 'models' / 'net.pth.part'
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
    assert fetch()[0] == 0 and is_whole(tmp_path)
    assert server.ranges('/net.pth') == [None, f'bytes={size}-']


def test_killed_fifty_times(mirror, server, tmp_path, fetch):
    server.pause = 0.006
    seed = random.randrange(1 << 30)
    digests = {path: sha256(data) for path, data in expected(tmp_path).items()}
    run = subprocess.run(
        [
            sys.executable,
            os.path.join(os.path.dirname(__file__), 'kill_often.py'),
            '50',
            str(seed),
            '0.25',
            json.dumps(digests),
        ]
        + mirror,
        env=dict(os.environ, PYTHONPATH=SOURCE),
        stdout=subprocess.PIPE,
        timeout=300,
    )
    found = json.loads(run.stdout.decode())
    assert found['wrong'] == [] and len(found['killed']) == 50, (seed, found)
    server.pause = 0
    assert fetch()[0] == 0 and is_whole(tmp_path)
    assert sum(given is not None for _, given, _ in server.requests) >= 5  # that many went on half-way
    print(
        'killed while {}; {} whole runs between, seed {}'.format(
            Counter(found['killed']), found['whole'], seed
        )
    )


def test_progress_is_shown(mirror, server):
    server.faults['/net.pth'] = [drop(100000), status(500)]
    run = start(mirror, 'weights')
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0
    assert b'net.pth: 100%' in err and b'trying again in' in err
    assert b'%' not in out
