"""``centernet dump-inputs``: the files, and what the manifest says of them."""

import base64
import errno
import hashlib
import io
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from devices.conftest import IMAGES
from support.painted import write_data
from support.random_weights import save_checkpoint

from centernet import cli
from centernet.coco import CocoData, read_image
from centernet.detection import InputSpec, preprocess
from centernet.devices import dump as dumping
from centernet.devices.layouts import LAYOUTS, list_text
from centernet.devices.manifest import read_manifest
from centernet.devices.reference import read_references
from centernet.networks.checkpoint import load_model
from centernet.sample import SAMPLE_WEIGHTS
from centernet.system.errors import DataError

INPUT = (3, 128, 128)


def names(folder, name='inputs'):
    return sorted(os.listdir(os.path.join(folder, name)))


def planes(folder, image_id):
    data = CocoData.load(os.path.join(folder, 'sample'))
    return preprocess(read_image(data.file(image_id)), InputSpec(128, 128))[0]


@pytest.fixture
def dump(tmp_path, capsys):
    """A function that runs ``centernet dump-inputs``: (status, folder, stdout, stderr)."""

    def run(*words):
        capsys.readouterr()
        argv = ['dump-inputs', '--output', str(tmp_path / 'dump'), '--no-progress', '--threads', '1']
        status = cli.main(argv + ['--device', 'cpu', '--workers', '0', *words])
        out, err = capsys.readouterr()
        assert 'Traceback' not in err
        return status, str(tmp_path / 'dump'), out, err

    return run


def test_one_file_per_image_named_after_its_id(dumped):
    folder = dumped('--layout', 'ais')
    manifest = read_manifest(folder)
    assert names(folder) == [f'{image_id:012d}.bin' for image_id in sorted(manifest.places)]
    assert len(names(folder)) == IMAGES
    for file in manifest.files[:3]:
        with open(os.path.join(folder, file.name), 'rb') as opened:
            content = opened.read()
        assert hashlib.sha256(content).hexdigest() == file.sha256
        expected = planes(folder, file.images[0].id)
        assert content == expected.tobytes() and expected.dtype == np.float32


def test_numbers_and_the_list_of_benchmark(dumped):
    folder = dumped('--layout', 'benchmark')
    assert set(names(folder)) == {f'{number}.bin' for number in range(IMAGES)}
    with open(os.path.join(folder, 'bin_file.info')) as file:
        lines = file.read().splitlines()
    assert lines[0] == '0 ./inputs/0.bin 128 128' and len(lines) == IMAGES
    assert os.path.exists(os.path.join(folder, lines[-1].split()[1]))


def test_batches_of_polygraphy_are_filled_with_zeros(dumped):
    folder = dumped('--layout', 'polygraphy', '--batch', '4')
    assert len(names(folder)) == 3
    with open(os.path.join(folder, 'inputs', names(folder)[-1])) as file:
        ((_, array),) = json.load(file)[0].items()
    found = np.load(io.BytesIO(base64.b64decode(array['array'])), allow_pickle=False)
    assert found.shape == (4, *INPUT) and found.dtype == np.float32
    last = read_manifest(folder).files[-1]
    assert len(last.images) == IMAGES % 4
    assert np.array_equal(found[1], planes(folder, last.images[1].id))
    assert not found[IMAGES % 4 :].any()


@pytest.mark.skipif(not shutil.which('sh'), reason='needs a shell')
def test_the_script_of_trtexec_runs_every_file(dumped, tmp_path):
    folder = dumped('--layout', 'trtexec')
    (tmp_path / 'trtexec').write_text(
        '#!/bin/sh\nprintf "%s\\n" "$*" >> "$CALLS"; pwd >> "$CALLS"; touch a.input.1.raw\n'
    )
    (tmp_path / 'trtexec').chmod(0o755)
    environment = dict(os.environ, PATH=f'{tmp_path}:{os.environ["PATH"]}', CALLS=str(tmp_path / 'calls'))
    script = os.path.join(folder, 'trtexec.sh')
    for words in (['m.engine', 'out'], ['m.engine', 'json', 'json']):
        subprocess.run(['sh', script, *words], cwd=str(tmp_path), env=environment, check=True)
    calls = (tmp_path / 'calls').read_text().splitlines()
    assert len(calls) == 4 * IMAGES
    first = names(folder)[0]
    assert calls[0] == (
        f'--loadEngine={tmp_path}/m.engine --loadInputs=image:{folder}/inputs/{first} --iterations=1'
        ' --warmUp=0 --duration=0 --dumpRawBindingsToFile'
    )
    assert calls[1] == str(tmp_path / 'out' / first[:-4])
    assert calls[2 * IMAGES].endswith(f'--exportOutput={tmp_path}/json/{first[:-4]}.json')
    assert not list((tmp_path / 'out').glob('*/*.input.*'))
    done = subprocess.run(['sh', script], stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode and 'usage: sh trtexec.sh ENGINE' in done.stderr
    assert "--loadInputs='a b':" in list_text(LAYOUTS['trtexec'], [], 1, 128, 128, 'a b')


def test_float16_has_half_the_size(dump):
    status, folder, _, _ = dump('--dtype', 'float16', '--limit', '2', '--references', '1')
    assert status == 0
    found = np.fromfile(os.path.join(folder, 'inputs', names(folder)[0]), np.float16).reshape(INPUT)
    assert np.array_equal(found, planes(folder, next(iter(read_manifest(folder).places))).astype(np.float16))


def test_shards_are_a_partition_and_calibration_is_of_none(dump):
    seen, calibrated = [], []
    for shard in ('1/3', '2/3', '3/3'):
        status, folder, _, _ = dump(
            '--limit', '8', '--shard', shard, '--calibration', '5', '--references', '1'
        )
        assert status == 0
        folder = os.path.join(folder, 'shard-{}-of-{}'.format(*shard.split('/')))
        seen += list(read_manifest(folder).places)
        calibrated.append(names(folder, 'calibration'))
    ids = CocoData.load(os.path.join(folder, 'sample')).image_ids
    assert sorted(seen) == sorted(ids[:8])
    assert calibrated[0] == calibrated[1] == calibrated[2] and len(calibrated[0]) == 5
    assert not {f'{image_id:012d}.bin' for image_id in seen} & set(calibrated[0])


def test_the_references_are_the_heads_of_the_checkpoint(dumped):
    folder = dumped('--layout', 'ais')
    manifest = read_manifest(folder)
    references = read_references(manifest)
    assert references.image_ids == list(manifest.places)[:8]
    images = np.stack([planes(folder, image_id) for image_id in references.image_ids])
    with torch.no_grad():
        expected = load_model(SAMPLE_WEIGHTS).model.eval()(torch.from_numpy(images))
    for head, array in references.outputs['plain'].items():
        scale = float(expected[head].abs().max())
        assert np.abs(array - expected[head].numpy()).max() < 1e-4 * scale
    for variant, outputs in references.outputs.items():
        difference = np.abs(outputs['hm'][:2] - references.outputs['plain']['hm'][:2]).mean()
        assert bool(difference == 0) is (variant == 'plain')
    assert not any(name.endswith(('.pkl', '.pth', '.npz')) for name in names(folder, 'reference'))


def test_a_network_without_deformable_convolutions_has_fewer_variants(tmp_path, dump):
    weights = save_checkpoint(tmp_path / 'res.pth', 'res_18', {'hm': 4, 'wh': 2, 'reg': 2}, 64)
    words = ['--limit', '2', '--references', '2', '--input-height', '64', '--input-width', '64']
    status, folder, _, _ = dump('--weights', weights, *words)
    assert status == 0
    variants = set(read_references(read_manifest(folder)).outputs)
    assert {'plain', 'float16', 'rgb', 'nhwc'} <= variants and 'offsets_xy' not in variants


def test_a_full_disk_is_named_and_leaves_no_usable_manifest(dump, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(dumping, 'encode', full)
    status, folder, _, err = dump('--limit', '2')
    assert status == 2 and 'cannot write' in err and 'No space left' in err
    with pytest.raises(DataError, match='unfinished'):
        read_manifest(folder)


def test_without_inputs_there_is_only_what_the_script_needs(dump):
    status, folder, _, _ = dump('--limit', '3', '--no-inputs', '--references', '1')
    assert status == 0
    assert sorted(os.listdir(folder)) == ['manifest.json', 'reference', 'run_device.py', 'sample']
    file = read_manifest(folder).files[0]
    assert file.sha256 is None and file.images[0].crc32


def test_an_image_that_cannot_be_read_is_left_out(tmp_path, dump):
    data = write_data(tmp_path / 'data', count=3)
    first = CocoData.load(str(data)).file(CocoData.load(str(data)).image_ids[0])
    with open(first, 'wb') as file:
        file.write(b'nothing')
    weights = save_checkpoint(tmp_path / 'net.pth', 'dla_tiny', {'hm': 2, 'wh': 2, 'reg': 2}, 64)
    words = ('--weights', weights, '--data', str(data), '--references', '1')
    status, folder, out, _ = dump(*words)
    assert status == 1
    assert 'was left out: cannot decode' in out and len(names(folder)) == 2
    assert dump(*words, '--on-bad-image', 'skip')[0] == 0


@pytest.mark.parametrize(
    'words, said',
    [
        (('--layout', 'ais', '--batch', '4'), '--batch 4: .*has one image per file'),
        (('--calibration', '300'), '--calibration 300: only 0 images are not evaluated'),
        (('--limit', '2', '--shard', '3/3'), '--shard 3/3: there are only 2 images'),
        (('--shard', '4/3'), "'4/3' is not a shard"),
        (('--data', 'none'), 'no --weights'),
    ],
)
def test_mistakes_are_one_line(dump, words, said):
    status, _, _, err = dump(*words)
    assert status == 2
    assert re.search(said, err.splitlines()[-1])


def test_files_of_an_earlier_dump_are_replaced_and_others_are_not(dump):
    dump('--limit', '4', '--references', '1')
    status, folder, _, _ = dump('--limit', '2', '--layout', 'benchmark', '--references', '1')
    assert status == 0
    assert names(folder) == ['0.bin', '1.bin']
    with open(os.path.join(folder, 'inputs', 'notes.txt'), 'w'):
        pass
    status, _, _, err = dump('--limit', '2')
    assert status == 2 and 'has inputs/notes.txt, which no dump wrote' in err
    assert '0.bin' in names(folder)


def test_nothing_is_removed_that_no_manifest_lists(dump, tmp_path):
    theirs = tmp_path / 'dump' / 'calibration' / '000000000139.bin'
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b'theirs')
    status, folder, _, err = dump('--limit', '2')
    assert status == 2 and 'has calibration/000000000139.bin, which no dump wrote' in err
    assert theirs.read_bytes() == b'theirs' and not os.path.exists(os.path.join(folder, 'inputs'))
    theirs.unlink()
    (tmp_path / 'dump' / 'manifest.json').write_text('{"name": "an app"}')
    status, _, _, err = dump('--limit', '2')
    assert status == 2 and 'is of another version of centernet' in err
    assert (tmp_path / 'dump' / 'manifest.json').read_text() == '{"name": "an app"}'


def test_a_dump_that_was_killed_is_replaced(dump, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(dumping, 'write_references', killed)
        status, folder, _, _ = dump('--limit', '3')
    assert status == 130 and len(names(folder)) == 3
    with pytest.raises(DataError, match='unfinished: dump the inputs again'):
        read_manifest(folder)
    assert dump('--limit', '2', '--references', '1')[0] == 0
    assert len(names(folder)) == 2


@pytest.mark.parametrize(
    'change, said',
    [
        (lambda text: text[:100], 'or damaged'),
        (lambda text: '[]', 'is no manifest'),
        (lambda text: text.replace('"manifest": 2', '"manifest": 99'), 'another version'),
        (lambda text: text.replace('"protocol"', '"other"'), 'or damaged'),
        (lambda text: text.replace('"geometry": [[', '"geometry": [["x", '), 'or damaged'),
        (lambda text: text.replace('"input_height": 128', '"input_height": 0'), 'or damaged'),
        (None, 'no manifest'),
    ],
)
def test_a_bad_manifest_is_one_line(dumped, tmp_path, change, said):
    with open(os.path.join(dumped('--layout', 'ais'), 'manifest.json')) as file:
        text = file.read()
    path = tmp_path / 'manifest.json'
    if change:
        path.write_text(change(text))
    with pytest.raises(DataError, match=said):
        read_manifest(str(path))


def test_references_that_were_changed_are_refused(dumped, tmp_path):
    folder = str(tmp_path / 'copy')
    shutil.copytree(dumped('--layout', 'ais'), folder)
    path = os.path.join(folder, 'reference', 'plain_wh.npy')
    array = np.load(path)
    array[0] += 1
    np.save(path, array)
    with pytest.raises(DataError, match=r'plain_wh\.npy was changed'):
        read_references(read_manifest(folder))
    os.unlink(path)
    with pytest.raises(DataError, match=r'cannot read .*plain_wh'):
        read_references(read_manifest(folder))
