"""``centernet reproduce`` on a few pictures of the sample, against figures that eval-pth measures, and
against wrong ones."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import pytest
import torch
from support import file_server
from support.random_weights import save_checkpoint

from centernet import cli
from centernet.errors import ModelError
from centernet.reproduce import running
from centernet.sample import SAMPLE_WEIGHTS, sample_folder

SOURCE = os.path.join(os.path.dirname(__file__), os.pardir, os.pardir, 'src')
IMAGES = 4
PROTOCOLS = {'fix_res': [], 'keep_res': ['--keep-res'], 'keep_res, flip': ['--keep-res', '--flip-test']}


def sha256(path):
    with open(str(path), 'rb') as file:
        return hashlib.sha256(file.read()).hexdigest()


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return sample_folder(str(tmp_path_factory.mktemp('data')), IMAGES)


@pytest.fixture(scope='module')
def figures(data, tmp_path_factory):
    """Protocol -> AP, as eval-pth measures them."""
    found = {}
    for name, words in PROTOCOLS.items():
        folder = tmp_path_factory.mktemp('figures')
        assert (
            cli.main(
                [
                    'eval-pth',
                    '--weights',
                    SAMPLE_WEIGHTS,
                    '--data',
                    data,
                    '--output',
                    str(folder),
                    '--device',
                    'cpu',
                    '--no-progress',
                ]
                + words
            )
            == 0
        )
        found[name] = json.loads((folder / 'metrics.json').read_text())['metrics']['AP']
    assert len(set(found.values())) == 3  # else exchanging them would not be seen
    return found


@pytest.fixture
def claims(data, figures):
    return {
        'data': 'a part of the sample',
        'source': 'eval-pth',
        'tolerance': 'recorded',
        'images': IMAGES,
        'annotations_sha256': sha256(os.path.join(data, 'annotations', 'instances_val2017.json')),
        'networks': [
            {
                'arch': 'dla_tiny',
                'weights': 'dla_tiny.pth',
                'sha256': sha256(SAMPLE_WEIGHTS),
                'input_size': [128, 128],
                'AP': dict(figures),
            }
        ],
    }


@pytest.fixture
def reproduce(claims, data, tmp_path, capsys):
    """Run it with these claims; returns (status, document or None, stdout, stderr)."""

    def run(*words, **given):
        (tmp_path / 'claims.json').write_text(json.dumps(given.get('claims', claims)))
        report = tmp_path / 'out' / 'report.json'
        if report.exists():
            report.unlink()
        status = cli.main(
            [
                'reproduce',
                '--claims',
                str(tmp_path / 'claims.json'),
                '--weights',
                str(given.get('weights', SAMPLE_WEIGHTS)),
                '--data',
                data,
                '--output',
                str(tmp_path / 'out'),
                '--device',
                'cpu',
                '--no-progress',
            ]
            + list(words)
        )
        out, err = capsys.readouterr()
        assert 'Traceback' not in err
        return status, json.loads(report.read_text()) if report.exists() else None, out, err

    return run


def verdicts(document):
    return {row['claim']: row['verdict'] for row in document['rows']}


def test_all_claims_hold(reproduce, tmp_path, figures):
    status, document, out, _ = reproduce()
    assert status == 0
    assert document['reproduced'] is True
    assert 'reproduced: all 9 claims hold' in out
    assert set(verdicts(document).values()) == {'holds'}
    rows = {row['claim']: row for row in document['rows']}
    assert {name: rows['AP, ' + name]['measured'] for name in figures} == pytest.approx(figures, abs=1e-9)
    for target in ('ascend', 'tensorrt', 'onnx', 'portable'):
        row = rows[f'AP of the export for {target}']
        assert row['expected'] == rows['AP, fix_res']['measured']
        assert abs(row['difference']) <= row['tolerance'] == 0.001
        assert (
            json.loads(
                (tmp_path / 'out' / 'dla_tiny' / ('verify_' + target) / 'verification.json').read_text()
            )['same']
            is True
        )
    assert document['environment']['torch'] == torch.__version__
    assert document['environment']['weights_sha256'] == {'dla_tiny': sha256(SAMPLE_WEIGHTS)}
    assert {'git', 'onnxruntime', 'device_name', 'platform'} <= set(document['environment'])
    markdown = (tmp_path / 'out' / 'report.md').read_text()
    assert (
        '| dla_tiny | AP, keep_res, flip | {:.4f} | {:.4f} | '.format(*[figures['keep_res, flip']] * 2)
        in markdown
    )
    assert '**reproduced: all 9 claims hold**' in markdown


@pytest.mark.parametrize(
    'change, verdict', [(0.0009, 'holds'), (-0.0009, 'holds'), (0.0015, 'fails'), (-0.0015, 'fails')]
)
def test_a_figure_beyond_its_tolerance_fails(reproduce, claims, change, verdict):
    claims['networks'][0]['AP'] = {'keep_res': claims['networks'][0]['AP']['keep_res'] + change}
    status, document, out, _ = reproduce('--target', 'none')
    assert verdicts(document)['AP, keep_res'] == verdict
    assert (status, document['reproduced']) == ((0, True) if verdict == 'holds' else (1, False))
    assert ('NOT reproduced: 1 of 3 claims fails' in out) == (verdict == 'fails')


def test_exchanged_weights_fail(reproduce, tmp_path, figures):
    checkpoint = torch.load(SAMPLE_WEIGHTS, map_location='cpu')
    torch.manual_seed(5)
    state = checkpoint['state_dict']
    for name, value in list(state.items()):
        if name.endswith('weight'):
            state[name] = (value.float() * (1 + 0.2 * torch.randn(value.shape))).to(value.dtype)
    torch.save(checkpoint, str(tmp_path / 'other.pth'))
    status, document, _, _ = reproduce('--target', 'portable', weights=tmp_path / 'other.pth')
    assert status == 1 and document['reproduced'] is False
    assert verdicts(document) == dict(
        {'AP, ' + name: 'fails' for name in figures},
        **{
            'SHA-256 of the annotations': 'holds',
            'SHA-256 of dla_tiny.pth': 'fails',
            'AP of the export for portable': 'holds',
        },
    )


def test_weights_of_another_network_fail(reproduce, tmp_path):
    path = save_checkpoint(tmp_path / 'res.pth', 'res_18', {'hm': 4, 'wh': 2, 'reg': 2}, 64)
    status, document, _, _ = reproduce(weights=path)
    assert status == 1
    assert verdicts(document) == {
        'SHA-256 of the annotations': 'holds',
        'SHA-256 of dla_tiny.pth': 'fails',
        'runs as dla_tiny': 'fails',
    }
    assert 'res_18' in document['rows'][-1]['note']


def test_other_annotations_fail(reproduce, claims):
    claims['annotations_sha256'] = '0' * 64
    claims['networks'][0]['AP'] = {}
    status, document, _, _ = reproduce('--target', 'none')
    assert status == 1
    assert [row['kind'] for row in document['rows'] if row['verdict'] == 'fails'] == ['data']


def test_an_export_of_other_weights_fails(reproduce, monkeypatch, claims):
    export = running.export

    def spoiled(loaded, *words, **options):
        state = {name: value.clone() for name, value in loaded.model.state_dict().items()}
        with torch.no_grad():
            next(loaded.model.parameters()).mul_(1.1)
        files = export(loaded, *words, **options)
        loaded.model.load_state_dict(state)
        return files

    monkeypatch.setattr(running, 'export', spoiled)
    claims['networks'][0]['AP'] = {'fix_res': claims['networks'][0]['AP']['fix_res']}
    status, document, _, _ = reproduce('--target', 'portable')
    assert status == 1
    assert (
        verdicts(document)['AP, fix_res'] == 'holds'
        and verdicts(document)['AP of the export for portable'] == 'fails'
    )
    assert 'heads failed' in document['rows'][-1]['note']


def test_an_export_that_cannot_be_made_fails(reproduce, monkeypatch, claims):
    def refuse(*_, **__):
        raise ModelError('there is no such operator')

    monkeypatch.setattr(running, 'export', refuse)
    claims['networks'][0]['AP'] = {}
    status, document, _, _ = reproduce()
    assert status == 1 and document['rows'][-1]['note'] == 'there is no such operator'


def test_a_part_of_the_images_is_not_compared(reproduce, claims):
    claims['networks'][0]['AP'] = {'fix_res': 0.123, 'keep_res': None}
    status, document, out, _ = reproduce('--limit', '2', '--target', 'portable')
    assert status == 0 and document['reproduced'] is None
    assert verdicts(document) == {
        'SHA-256 of the annotations': 'holds',
        'SHA-256 of dla_tiny.pth': 'holds',
        'AP, keep_res': 'no claim',
        'AP, fix_res': 'not comparable',
        'AP of the export for portable': 'holds',
    }
    assert 'nothing fails, but only 3 of 4 claims could be compared (2 of 4 images)' in out


def test_a_picture_that_cannot_be_read_fails(reproduce, claims, data):
    claims['networks'][0]['AP'] = {'fix_res': None}
    picture = os.path.join(data, 'val2017', sorted(os.listdir(os.path.join(data, 'val2017')))[2])
    with open(picture, 'rb') as file:
        content = file.read()
    try:
        with open(picture, 'wb') as file:
            file.write(content[:100])
        status, document, _, _ = reproduce('--target', 'none')
    finally:
        with open(picture, 'wb') as file:
            file.write(content)
    assert status == 1 and document['rows'][-1]['note'] == '1 image could not be read'


@pytest.mark.parametrize(
    'words, message',
    [
        (['--limit', '0'], '--limit must be at least 1'),
        (['--batch-size', '0'], '--batch-size must be at least 1'),
        (['--target', 'tpu'], "unknown target 'tpu'"),
        (['--arch', 'dla_34'], 'claims nothing about dla_34'),
        (['--weights', 'nowhere.pth'], 'nowhere.pth'),
        (['--claims', 'nowhere.json'], 'nowhere.json'),
        (['--output', '/proc/out'], 'cannot be written'),
    ],
)
def test_mistakes_are_said_in_one_line(reproduce, words, message):
    status, document, _, err = reproduce(*words)
    assert (status, document) == (2, None)
    assert message in err.splitlines()[-1]


def test_one_checkpoint_for_several_networks(reproduce, claims):
    claims['networks'].append(dict(claims['networks'][0], arch='res_18'))
    status, _, _, err = reproduce()
    assert status == 2 and 'choose with --arch' in err


def test_the_sample_by_its_flag(tmp_path, capsys):
    assert (
        cli.main(
            [
                'reproduce',
                '--sample',
                '--limit',
                '2',
                '--output',
                str(tmp_path),
                '--target',
                'ascend',
                '--device',
                'cpu',
                '--json',
                '--no-progress',
            ]
        )
        == 0
    )
    document = json.loads(capsys.readouterr()[0])
    assert document == json.loads((tmp_path / 'report.json').read_text())
    assert set(verdicts(document).values()) == {'holds', 'not comparable'}
    assert verdicts(document)['SHA-256 of the annotations'] == 'holds'


def ids(folder, name):
    with open(os.path.join(str(folder), 'dla_tiny', name, 'journal.jsonl')) as file:
        return [json.loads(line)['image_id'] for line in file.read().splitlines()[1:]]


def test_killed_and_run_again(reproduce, data, claims, tmp_path):
    (tmp_path / 'claims.json').write_text(json.dumps(claims))
    command = [
        sys.executable,
        '-m',
        'centernet',
        'reproduce',
        '--claims',
        str(tmp_path / 'claims.json'),
        '--weights',
        SAMPLE_WEIGHTS,
        '--data',
        data,
        '--output',
        str(tmp_path / 'out'),
        '--device',
        'cpu',
        '--no-progress',
        '--target',
        'portable',
        '--batch-size',
        '1',
        '--workers',
        '0',
    ]
    run = subprocess.Popen(
        command, env=dict(os.environ, PYTHONPATH=SOURCE), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    journal = tmp_path / 'out' / 'dla_tiny' / 'keep_res' / 'journal.jsonl'
    try:
        deadline = time.time() + 300
        while not journal.exists() or len(journal.read_bytes().splitlines()) < 3:
            assert run.poll() is None and time.time() < deadline
            time.sleep(0.002)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert not (tmp_path / 'out' / 'report.md').exists()
    before = {
        name: (tmp_path / 'out' / 'dla_tiny' / name / 'journal.jsonl').read_bytes()
        for name in ('fix_res', 'keep_res')
    }
    status, document, out, _ = reproduce('--target', 'portable')
    assert status == 0 and document['reproduced'] is True
    assert 'going on with the interrupted run' in out
    for name, content in before.items():
        assert (
            (tmp_path / 'out' / 'dla_tiny' / name / 'journal.jsonl')
            .read_bytes()
            .startswith(content[: content.rfind(b'\n') + 1])
        )
    for name in ('fix_res', 'keep_res', 'keep_res_flip', 'verify_portable/model'):
        assert (
            len(ids(tmp_path / 'out', name)) == len(set(ids(tmp_path / 'out', name))) == IMAGES
        )  # nothing twice
    assert (
        'going on' not in reproduce('--target', 'none')[2]
    )  # a finished run is not taken for an interrupted one


def test_interrupted_while_an_export_is_verified(reproduce, monkeypatch, tmp_path, claims):
    claims['networks'][0]['AP'] = {}
    detect, left = running.OnnxRunner.__call__, [3]

    def tire(self, images):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return detect(self, images)

    monkeypatch.setattr(running.OnnxRunner, '__call__', tire)
    status, document, _, err = reproduce('--target', 'portable', '--workers', '0')
    assert (status, document) == (130, None)
    assert 'the same command goes on' in err
    assert len(ids(tmp_path / 'out', 'verify_portable/model')) == 2
    status, _, out, _ = reproduce('--target', 'portable')
    assert status == 0 and 'going on with' in out
    assert left[0] == -(IMAGES - 2)  # the other two alone
    left[0] = 3
    reproduce('--target', 'portable', '--workers', '0')
    status, _, out, _ = reproduce('--target', 'none', weights=save_other(tmp_path))
    assert 'going on' not in out  # of other weights


def save_other(tmp_path):
    checkpoint = torch.load(SAMPLE_WEIGHTS, map_location='cpu')
    torch.save(dict(checkpoint, epoch=2), str(tmp_path / 'other.pth'))
    return tmp_path / 'other.pth'


def test_what_is_missing_is_fetched(claims, data, tmp_path, capsys):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        for folder in ('annotations', 'val2017'):
            for name in os.listdir(os.path.join(data, folder)):
                archive.write(os.path.join(data, folder, name), folder + '/' + name)
    with open(SAMPLE_WEIGHTS, 'rb') as weights:
        files = {'dla_tiny.pth': weights.read(), 'data.zip': file.getvalue()}
    annotations = os.path.join(data, 'annotations', 'instances_val2017.json')
    unpack = [
        {'folder': 'val2017', 'suffix': '.png', 'files': IMAGES, 'bytes_at_most': 10 << 20},
        {
            'file': 'annotations/instances_val2017.json',
            'bytes': os.path.getsize(annotations),
            'sha256': sha256(annotations),
        },
    ]
    claims['networks'][0]['AP'] = {'fix_res': claims['networks'][0]['AP']['fix_res']}
    (tmp_path / 'claims.json').write_text(json.dumps(claims))
    words = [
        'reproduce',
        '--claims',
        str(tmp_path / 'claims.json'),
        '--manifest',
        str(tmp_path / 'manifest.json'),
        '--models',
        str(tmp_path / 'models'),
        '--data',
        str(tmp_path / 'data'),
        '--output',
        str(tmp_path / 'out'),
        '--device',
        'cpu',
        '--no-progress',
        '--target',
        'none',
        '--attempts',
        '1',
    ]
    with file_server.running() as server:
        entries = [
            dict(
                {
                    'name': name,
                    'group': group,
                    'bytes': len(files[name]),
                    'sha256': hashlib.sha256(files[name]).hexdigest(),
                    'mirrors': [server.address + '/' + name],
                },
                **more,
            )
            for name, group, more in (
                ('dla_tiny.pth', 'weights', {}),
                ('data.zip', 'coco', {'unpack': unpack}),
            )
        ]
        (tmp_path / 'manifest.json').write_text(json.dumps({'files': entries}))
        assert cli.main(words) == 2
        assert '(404)' in capsys.readouterr()[1].splitlines()[-1]
        server.files.update(('/' + name, content) for name, content in files.items())
        assert cli.main(words) == 0
        assert 'reproduced: all 3 claims hold' in capsys.readouterr()[0]
        server.requests.clear()
        assert cli.main(words) == 0
        assert server.requests == []
