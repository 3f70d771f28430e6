"""``centernet reproduce`` on a few pictures of the sample, against figures that eval-pth measures, and
against wrong ones."""

import hashlib
import io
import json
import os
import subprocess
import sys
import time
import zipfile

import pytest
import torch
from support import file_server
from support.processes import journal_ids
from support.random_weights import save_checkpoint

from centernet import cli
from centernet.coco import CocoData
from centernet.fetch.catalog import RemoteFile, ZippedFile, ZippedFolder
from centernet.networks.runtimes.onnx_runtime import OnnxNetwork
from centernet.options.selection import Loading
from centernet.reproduce import SAMPLE, Settings, measure, write_report
from centernet.reproduce import reproduce as reproduce_claims
from centernet.sample import SAMPLE_WEIGHTS, sample_folder
from centernet.system.errors import Interrupted, ModelError
from centernet.system.files import ensure_folder

SOURCE = os.path.join(os.path.dirname(__file__), os.pardir, os.pardir, 'src')
IMAGES = 4
FLAGS = {'fix_res': [], 'keep_res': ['--keep-res'], 'keep_res, flip': ['--keep-res', '--flip-test']}


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
    for name, flags in FLAGS.items():
        folder = tmp_path_factory.mktemp('figures')
        words = ['--weights', SAMPLE_WEIGHTS, '--data', data, '--output', str(folder), '--device', 'cpu']
        assert cli.main(['eval-pth', *words, '--no-progress', *flags]) == 0
        found[name] = json.loads((folder / 'metrics.json').read_text())['metrics']['AP']
    assert len(set(found.values())) == 3  # else exchanging them would not be seen
    return found


@pytest.fixture
def claims(data, figures):
    """True claims about the pictures."""
    annotations = sha256(os.path.join(data, 'annotations', 'instances_val2017.json'))
    network = SAMPLE.networks[0]._replace(ap=figures)
    return SAMPLE._replace(images=IMAGES, annotations_sha256=annotations, networks=(network,))


def change(claims, **fields):
    """The claims with other fields of their network."""
    return claims._replace(networks=(claims.networks[0]._replace(**fields),))


@pytest.fixture
def reproduce(claims, data, tmp_path, capsys, monkeypatch):
    """Run it with these claims, or others; returns (status, document or None, stdout, stderr)."""

    def run(*words, claims=claims, weights=SAMPLE_WEIGHTS):
        monkeypatch.setattr('centernet.reproduce.PUBLISHED', claims)
        report = tmp_path / 'out' / 'report.json'
        if report.exists():
            report.unlink()
        places = ['--weights', str(weights), '--data', data, '--output', str(tmp_path / 'out')]
        status = cli.main(['reproduce', *places, '--device', 'cpu', '--no-progress', *words])
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
    markdown = ' '.join((tmp_path / 'out' / 'report.md').read_text().split())
    assert (
        '| dla_tiny | AP, keep_res, flip | {:.4f} | {:.4f} | '.format(*[figures['keep_res, flip']] * 2)
        in markdown
    )
    assert '**reproduced: all 9 claims hold**' in markdown


@pytest.mark.parametrize(
    'offset, verdict', [(0.0009, 'holds'), (-0.0009, 'holds'), (0.0015, 'fails'), (-0.0015, 'fails')]
)
def test_a_figure_beyond_its_tolerance_fails(reproduce, claims, figures, offset, verdict):
    claims = change(claims, ap={'keep_res': figures['keep_res'] + offset})
    status, document, out, _ = reproduce('--target', 'none', claims=claims)
    assert verdicts(document)['AP, keep_res'] == verdict
    assert (status, document['reproduced']) == ((0, True) if verdict == 'holds' else (1, False))
    assert ('NOT reproduced: 1 of 3 claims fail' in out) == (verdict == 'fails')


@pytest.mark.slow
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
    claims = change(claims, ap={})._replace(annotations_sha256='0' * 64)
    status, document, _, _ = reproduce('--target', 'none', claims=claims)
    assert status == 1
    assert [claim for claim, verdict in verdicts(document).items() if verdict == 'fails'] == [
        'SHA-256 of the annotations'
    ]


@pytest.mark.slow
def test_an_export_of_other_weights_fails(reproduce, monkeypatch, claims):
    export = measure.export

    def spoiled(loaded, *words, **options):
        state = {name: value.clone() for name, value in loaded.model.state_dict().items()}
        with torch.no_grad():
            next(loaded.model.parameters()).mul_(1.1)
        files = export(loaded, *words, **options)
        loaded.model.load_state_dict(state)
        return files

    monkeypatch.setattr(measure, 'export', spoiled)
    claims = change(claims, ap={'fix_res': claims.networks[0].ap['fix_res']})
    status, document, _, _ = reproduce('--target', 'portable', claims=claims)
    assert status == 1
    assert (
        verdicts(document)['AP, fix_res'] == 'holds'
        and verdicts(document)['AP of the export for portable'] == 'fails'
    )
    assert 'heads failed' in document['rows'][-1]['note']


def test_an_export_that_cannot_be_made_fails(reproduce, monkeypatch, claims):
    def refuse(*_, **__):
        raise ModelError('there is no such operator')

    monkeypatch.setattr(measure, 'export', refuse)
    status, document, _, _ = reproduce(claims=change(claims, ap={}))
    assert status == 1 and document['rows'][-1]['note'] == 'there is no such operator'


@pytest.mark.slow
def test_a_part_of_the_images_is_not_compared(reproduce, claims):
    claims = change(claims, ap={'fix_res': 0.123})
    status, document, out, _ = reproduce('--limit', '2', '--target', 'portable', claims=claims)
    assert status == 0 and document['reproduced'] is None
    assert verdicts(document) == {
        'SHA-256 of the annotations': 'holds',
        'SHA-256 of dla_tiny.pth': 'holds',
        'AP, fix_res': 'not comparable',
        'AP of the export for portable': 'holds',
    }
    assert 'only 3 of 4 could be compared (2 of 4 images)' in out


def test_a_picture_that_cannot_be_read_fails(reproduce, claims, data):
    claims = change(claims, ap={'fix_res': 0.5})
    picture = os.path.join(data, 'val2017', sorted(os.listdir(os.path.join(data, 'val2017')))[2])
    with open(picture, 'rb') as file:
        content = file.read()
    try:
        with open(picture, 'wb') as file:
            file.write(content[:100])
        status, document, _, _ = reproduce('--target', 'none', claims=claims)
    finally:
        with open(picture, 'wb') as file:
            file.write(content)
    assert status == 1 and document['rows'][-1]['note'] == 'images that could not be read: 1'


@pytest.mark.parametrize(
    'words, message',
    [
        (['--limit', '0'], '--limit'),
        (['--batch-size', '0'], '--batch-size'),
        (['--target', 'tpu'], "'tpu'"),
        (['--arch', 'dla_34'], 'dla_34'),
        (['--weights', 'nowhere.pth'], 'nowhere.pth'),
        (['--output', '/proc/out'], '/proc/out'),
    ],
)
def test_invalid_options(reproduce, words, message):
    status, document, _, err = reproduce(*words)
    assert (status, document) == (2, None)
    assert message in err.splitlines()[-1]


def test_what_the_container_says_about_paths(reproduce, monkeypatch, tmp_path):
    monkeypatch.setattr('centernet.commands.setup.IN_CONTAINER', True)
    status, _, _, err = reproduce(weights=tmp_path / 'nowhere.pth')
    assert status == 2 and 'MODELS_DIR' in err
    status, _, _, err = reproduce('--output', '/proc/out')
    assert status == 2 and 'OUTPUT_DIR' in err


def test_one_checkpoint_for_several_networks(reproduce, claims):
    networks = (claims.networks[0], claims.networks[0]._replace(arch='res_18'))
    status, _, _, err = reproduce(claims=claims._replace(networks=networks))
    assert status == 2 and '--arch' in err


def ids(folder, name):
    return journal_ids(folder / 'dla_tiny' / name)


@pytest.mark.slow
def test_resume_after_kill(tmp_path, capsys):
    out = tmp_path / 'out'
    words = ['reproduce', '--sample', '--limit', str(IMAGES), '--target', 'portable', '--device', 'cpu']
    words += ['--no-progress', '--batch-size', '1', '--workers', '0', '--output', str(out)]
    journal = out / 'dla_tiny' / 'keep_res' / 'journal.jsonl'
    with subprocess.Popen(
        [sys.executable, '-m', 'centernet', *words],
        env=dict(os.environ, PYTHONPATH=SOURCE),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        try:
            deadline = time.time() + 300
            while not journal.exists() or len(journal.read_bytes().splitlines()) < 4:
                assert run.poll() is None and time.time() < deadline
                time.sleep(0.002)
        finally:
            run.kill()
    assert not (out / 'report.md').exists()
    before = {
        name: (out / 'dla_tiny' / name / 'journal.jsonl').read_bytes() for name in ('fix_res', 'keep_res')
    }
    assert cli.main(words) == 0
    assert 'resuming' in capsys.readouterr()[0]
    for name, content in before.items():
        journal = (out / 'dla_tiny' / name / 'journal.jsonl').read_bytes()
        assert journal.startswith(content[: content.rfind(b'\n') + 1])
    for name in ('fix_res', 'keep_res', 'keep_res_flip', 'verify_portable/model'):
        assert len(ids(out, name)) == len(set(ids(out, name))) == IMAGES  # none twice
    document = json.loads((out / 'report.json').read_text())
    assert set(verdicts(document).values()) == {'holds', 'not comparable'}
    words[words.index('portable')] = 'none'
    assert cli.main([*words, '--json']) == 0
    text, err = capsys.readouterr()
    assert 'resuming' not in err  # a finished run is not taken for an interrupted one
    assert json.loads(text) == json.loads((out / 'report.json').read_text())


@pytest.mark.slow
def test_interrupted_while_an_export_is_verified(monkeypatch, tmp_path, claims, data):
    claims = change(claims, ap={})
    detect, left = OnnxNetwork.__call__, [3]

    def tire(self, images):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return detect(self, images)

    said, out = [], ensure_folder(str(tmp_path / 'out'))

    def run(weights=SAMPLE_WEIGHTS):
        del said[:]
        options = {'loading': Loading(workers=0), 'targets': ('portable',), 'progress': False}
        settings = Settings(CocoData.load(data), out, torch.device('cpu'), **options)
        return reproduce_claims(claims, {'dla_tiny': str(weights)}, settings, said.append)

    monkeypatch.setattr(OnnxNetwork, '__call__', tire)
    with pytest.raises(Interrupted) as caught:
        run()
    assert 'the same command resumes' in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyboardInterrupt)
    assert len(ids(tmp_path / 'out', 'verify_portable/model')) == 2
    found = run()
    assert found.passed and any('resuming' in text for text in said)
    assert left[0] == -(IMAGES - 2)  # the other two alone
    write_report(out, found)
    left[0] = 1
    with pytest.raises(Interrupted):
        run()
    assert not any('resuming' in text for text in said)  # it had finished
    checkpoint = torch.load(SAMPLE_WEIGHTS, map_location='cpu')
    torch.save(dict(checkpoint, epoch=2), str(tmp_path / 'other.pth'))
    run(tmp_path / 'other.pth')
    assert not any('resuming' in text for text in said)  # it had other weights


def test_what_is_missing_is_fetched(claims, data, tmp_path, capsys, monkeypatch):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, 'w') as file:
        for folder in ('annotations', 'val2017'):
            for name in os.listdir(os.path.join(data, folder)):
                file.write(os.path.join(data, folder, name), folder + '/' + name)
    with open(SAMPLE_WEIGHTS, 'rb') as file:
        content = {'dla_tiny.pth': file.read(), 'images.zip': archive.getvalue()}
    content['annotations.zip'] = content['images.zip']
    annotations = os.path.join(data, 'annotations', 'instances_val2017.json')
    unpacked = {
        'images.zip': ZippedFolder('val2017', '.png', IMAGES),
        'annotations.zip': ZippedFile(
            'annotations/instances_val2017.json', os.path.getsize(annotations), sha256(annotations)
        ),
    }
    words = ['reproduce', '--models', str(tmp_path / 'models'), '--data', str(tmp_path / 'data')]
    words += ['--output', str(tmp_path / 'out'), '--target', 'none', '--device', 'cpu', '--no-progress']
    words += ['--attempts', '1']
    with file_server.running() as server:
        files = tuple(
            RemoteFile(
                name,
                'coco' if name in unpacked else 'weights',
                len(body),
                hashlib.sha256(body).hexdigest(),
                (server.address + '/' + name,),
                unpacked.get(name),
            )
            for name, body in content.items()
        )
        monkeypatch.setattr('centernet.fetch.catalog.FILES', files)
        claims = change(claims, ap={'fix_res': claims.networks[0].ap['fix_res']})
        monkeypatch.setattr('centernet.reproduce.PUBLISHED', claims)
        assert cli.main(words) == 2
        assert 'HTTP 404' in capsys.readouterr()[1].splitlines()[-1]
        server.files.update(('/' + name, body) for name, body in content.items())
        assert cli.main(words) == 0
        assert 'reproduced: all 3 claims hold' in capsys.readouterr()[0]
        server.requests.clear()
        assert cli.main(words) == 0
        assert server.requests == []
