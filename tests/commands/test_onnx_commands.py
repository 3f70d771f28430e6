"""``centernet verify`` and ``centernet eval-onnx`` as a user meets them."""

import json
import re
import shutil

import onnx
import pytest
import torch
from support.onnx_files import detector
from support.random_weights import save_checkpoint

from centernet.cli import main
from centernet.exporting.exporter import export
from centernet.networks.checkpoint import load_model
from centernet.onnxfile import graph


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A checkpoint of the sample's classes, its exports, and one that is broken."""
    folder = tmp_path_factory.mktemp('files')
    weights = save_checkpoint(folder / 'model.pth', 'dla_tiny', {'hm': 4, 'wh': 2, 'reg': 2}, 64)
    paths = {'weights': weights}
    for path in export(load_model(weights), str(folder), 'model', ('ascend', 'portable'), size=(64, 64)):
        paths['portable' if 'portable' in path else 'script' if path.endswith('.sh') else 'ascend'] = path
    broken = graph.load(paths['ascend'])
    broken.rename_value('wh', 'other')
    broken.rename_value('reg', 'wh')
    broken.rename_value('other', 'reg')
    paths['broken'] = str(folder / 'broken.onnx')
    broken.save(paths['broken'])
    return paths


@pytest.fixture
def run(tmp_path, capsys):
    """A function: command and flags -> (status, stdout, stderr)."""

    def call(command, *words):
        status = main(
            [
                command,
                '--output',
                str(tmp_path / 'out'),
                '--no-progress',
                '--device',
                'cpu',
                '--workers',
                '0',
                '--threads',
                '1',
            ]
            + list(words)
        )
        found = capsys.readouterr()
        assert 'Traceback' not in found.err
        return (status,) + tuple(found)

    return call


def test_verify_says_that_it_is_the_same_model(run, files, tmp_path):
    status, out, err = run('verify', files['ascend'], '--weights', files['weights'], '--limit', '6')
    assert status == 0
    assert 'the same model\n' in out and 'detections: passed' in out and 'over 6 images' in out
    assert "using the built-in sample's images" in err
    written = json.loads((tmp_path / 'out' / 'model' / 'verification.json').read_text())
    assert written['same'] is True
    assert written['stages']['rules']['target'] == 'ascend'
    assert '  out/model/verification.json' in out.splitlines()


def test_verify_says_that_it_is_not_the_same_model(run, files):
    status, out, _ = run('verify', files['broken'], '--weights', files['weights'], '--limit', '6')
    assert status == 1
    assert 'NOT the same model: heads and detections' in out


def test_verify_prints_json_alone(run, files):
    status, out, err = run(
        'verify',
        files['broken'],
        '--weights',
        files['weights'],
        '--no-metrics',
        '--compare-images',
        '2',
        '--json',
    )
    assert status == 1
    (report,) = json.loads(out).values()
    assert report['same'] is False
    assert report['stages']['heads']['images'] == 2
    assert report['stages']['metrics'] == {'outcome': 'skipped', 'note': 'not requested', 'error': None}
    assert 'broken.onnx against' in err


@pytest.mark.parametrize(
    'words, said',
    [
        (['{weights}', '--weights', '{weights}'], 'is not an ONNX model'),
        (['none.onnx', '--weights', '{weights}'], 'none.onnx'),
        (['{ascend}', '--weights', 'none.pth'], 'none.pth'),
        (['{ascend}', '--data', 'data'], 'no --weights: .*data'),
        (
            ['{ascend}', '--weights', '{weights}', '--input-height', '96'],
            '--input-height 96: .* is fixed to 64',
        ),
        (['{ascend}', '--weights', '{weights}', '--images', 'x'], '--images needs --data'),
    ],
)
def test_mistakes_in_verify_are_one_line(run, files, words, said):
    status, _, err = run('verify', *[word.format(**files) for word in words])
    assert status == 2
    lines = [line for line in err.splitlines() if line.startswith('centernet: error: ')]
    assert len(lines) == 1
    assert re.search(said, lines[0]), lines[0]


@pytest.mark.parametrize('which', ['ascend', 'portable'])
def test_eval_onnx_gives_what_eval_pth_gives(run, files, which, tmp_path):
    status, out, _ = run('eval-onnx', files[which], '--limit', '8', '--json')
    assert status == 0
    ours = json.loads(out)
    status, out, _ = run('eval-pth', '--weights', files['weights'], '--limit', '8', '--json')
    assert status == 0
    theirs = json.loads(out)
    assert ours['metrics'] == pytest.approx(theirs['metrics'], abs=1e-3)
    assert ours['record']['protocol'] == theirs['record']['protocol']
    assert ours['record']['network']['metadata']['arch'] == 'dla_tiny'
    assert (tmp_path / 'out' / 'results.json').is_file()


def test_eval_onnx_says_what_it_runs(run, files):
    status, out, _ = run('eval-onnx', files['ascend'], '--limit', '2', '--flip-test')
    assert status == 0
    assert f'network: dla_tiny ({files["ascend"]})' in out
    assert 'DeformableConv2D runs through its translation to ' in out
    assert (
        'input: 64 x 64, normalization coco, flip test\ndevice: cpu (' in out
        and ', 1 thread, batches of 1, no loader processes' in out
    )
    assert 'Average Precision' in out


def test_eval_onnx_keeps_the_images_sizes_where_the_file_lets_it(run, tmp_path):
    path = str(tmp_path / 'open.onnx')
    onnx.save(detector(None), path)
    status, out, _ = run('eval-onnx', path, '--limit', '3', '--keep-res', '--json')
    assert status == 0
    assert json.loads(out)['record']['protocol']['keep_res'] is True


@pytest.mark.parametrize(
    'words, said',
    [
        (['{ascend}', '--keep-res'], '--keep-res .*fixed to 64 x 64'),
        (['{ascend}', '--input-width', '128'], '--input-width 128: .* is fixed to 64'),
        (['{weights}'], 'centernet eval-pth evaluates'),
        (['{ascend}', '--data', 'none'], 'no such data folder: none'),
        (['{ascend}', '--device', 'gpu'], "unknown device 'gpu'"),
    ],
)
def test_mistakes_in_eval_onnx_are_one_line(run, files, words, said):
    status, _, err = run('eval-onnx', *[word.format(**files) for word in words])
    assert status == 2
    lines = [line for line in err.splitlines() if line.startswith('centernet: error: ')]
    assert len(lines) == 1
    assert re.search(said, lines[0]), lines[0]


def test_a_file_of_other_classes_needs_data(run, tmp_path):
    model = detector(None, size=(64, 64))
    for tensor in model.graph.initializer:
        if tensor.name == 'hm.weight':
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor)[:3], tensor.name))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    path = str(tmp_path / 'three.onnx')
    onnx.save(model, path)
    status, _, err = run('eval-onnx', path)
    assert status == 2
    assert '3 classes' in err and 'unlike the sample' in err


def test_eval_onnx_takes_the_size_that_an_open_file_records(run, tmp_path):
    path = str(tmp_path / 'open.onnx')
    onnx.save(detector(None, metadata=[('input_size', '[64, 96]')]), path)
    status, out, _ = run('eval-onnx', path, '--limit', '2', '--json')
    assert status == 0
    protocol = json.loads(out)['record']['protocol']
    assert (protocol['input_height'], protocol['input_width']) == (64, 96)


@pytest.mark.slow
def test_verify_of_an_open_file_ignores_a_size_that_makes_no_sense(run, tmp_path):
    heads = {'hm': 4, 'wh': 2, 'reg': 2}
    weights = save_checkpoint(tmp_path / 'net.pth', 'res_18', heads, 64, input_size=['a', 'b'])
    onnx.save(detector(None), str(tmp_path / 'open.onnx'))
    words = ['--weights', weights, '--no-metrics', '--compare-images', '1', '--limit', '1']
    status, _, err = run('verify', str(tmp_path / 'open.onnx'), *words)
    assert status == 1  # another network, at 512 x 512
    assert 'error' not in err


def test_without_a_model_the_exported_files_are_taken_and_exported_first(run, files, tmp_path, monkeypatch):
    # .ckpt: the names of the files follow from the checkpoint's in one place only
    monkeypatch.setenv('WEIGHTS', str(tmp_path / 'best.ckpt'))
    shutil.copy(files['weights'], str(tmp_path / 'best.ckpt'))
    quick = ['--limit', '2', '--compare-images', '1']
    status, out, err = run('verify', *quick)
    assert status == 0
    assert '4 of 4 files match best.ckpt' in out and 'exporting best.ckpt first' in err
    exported = tmp_path / 'output' / 'export'
    assert sorted(path.name for path in exported.glob('*.onnx')) == [
        'best.onnx',
        'best_onnx.onnx',
        'best_portable.onnx',
        'best_tensorrt.onnx',
    ]
    status, out, err = run('eval-onnx', '--limit', '2')
    assert status == 0
    assert 'output/export/best_portable.onnx' in out and 'exporting' not in err


def test_export_verifies_the_targets_that_were_chosen(run, files, tmp_path):
    words = ['--weights', files['weights'], '--target', 'portable', '--verify', '--limit', '2']
    status, out, _ = run('export', *words, '--compare-images', '1')
    assert status == 0
    assert sorted(path.name for path in (tmp_path / 'out').glob('*.onnx')) == ['model_portable.onnx']
    assert 'the same model' in out
    assert (tmp_path / 'out' / 'verified' / 'model_portable' / 'verification.json').is_file()


def test_a_raw_file_is_not_verified(run, files):
    status, _, err = run('export', '--weights', files['weights'], '--raw', '--verify')
    assert status == 2
    assert '--raw and --verify' in err


@pytest.mark.slow
def test_the_entry_of_a_checkpoint_with_several_networks(run, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved = torch.load(files['weights'])
    ema = saved.pop('state_dict')
    saved['model'] = {
        name: value + 3 if name.startswith(('hm.2', 'wh.2')) else value for name, value in ema.items()
    }
    torch.save(dict(saved, ema=ema), 'several.pth')
    words = ('--weights', 'several.pth', '--limit', '2', '--no-metrics')
    status, out, _ = run('verify', files['portable'], '--weights-key', 'ema', *words)
    assert status == 0 and 'the weights are the entry ema of the file' in out
    assert run('verify', files['portable'], '--weights-key', 'model', *words)[0] == 1
    status, _, err = run('verify', files['portable'], *words)
    assert status == 2 and 'model, ema; choose' in err and '--weights-key' in err
    # the files that are missing are exported from the same entry
    status, out, _ = run('verify', '--weights-key', 'model', *words)
    assert status == 0 and '4 of 4 files match' in out
    status, out, _ = run('export', '--weights', 'several.pth', '--weights-key', 'ema', '--target', 'onnx')
    assert status == 0 and 'the weights are the entry ema of the file' in out


def test_the_entry_needs_weights(files, capsys):
    assert main(['modify', files['portable'], '--weights-key', 'ema']) == 2
    assert '--weights-key need --weights' in capsys.readouterr().err
