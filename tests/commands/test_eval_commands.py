import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from support.painted import write_data

from centernet import cli
from centernet.commands import setup
from centernet.models import create_model

SOURCE = os.path.join(os.path.dirname(__file__), os.pardir, os.pardir, 'src')
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has a GPU')


def save_weights(path, classes=2, **meta):
    torch.manual_seed(3)
    model = create_model('dla_tiny', {'hm': classes, 'wh': 2, 'reg': 2})
    torch.save(
        dict(
            {'epoch': 7, 'arch': 'dla_tiny', 'input_size': [64, 64], 'state_dict': model.state_dict()}, **meta
        ),
        str(path),
    )
    return path


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return save_weights(tmp_path_factory.mktemp('weights') / 'tiny.pth')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp('data') / 'data')


@pytest.fixture
def eval_pth(weights, folder, tmp_path, capsys):
    """Run ``centernet eval-pth`` with these flags more or instead; None leaves a flag away. Returns (status,
    stdout, stderr)."""

    def run(*words, **flags):
        given = {
            'weights': weights,
            'data': folder,
            'output': tmp_path / 'out',
            'device': 'cpu',
            'threads': 1,
        }
        given.update(flags)
        argv = ['eval-pth', '--no-progress']
        for name, value in given.items():
            argv += [] if value is None else ['--' + name.replace('_', '-'), str(value)]
        status = cli.main(argv + list(words))
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def refused(eval_pth):
    """Run it with a mistake: exit status 2 and one line on stderr, which is returned without its start."""

    def run(*words, **flags):
        status, _, err = eval_pth(*words, **flags)
        errors = [line for line in err.splitlines() if 'error' in line]
        assert status == 2
        assert 'Traceback' not in err
        assert err.splitlines()[-1] == errors[0]
        assert errors[0].startswith('centernet: error: ')
        return errors[0][len('centernet: error: ') :]

    return run


def test_figures_and_timings_are_printed_and_written(eval_pth, tmp_path, weights, folder):
    status, out, err = eval_pth('--save-images', '1')
    assert status == 0
    # a warning that the compiled operator is missing is all that may be there
    assert [
        line for line in err.splitlines() if not line.startswith('centernet: warning: deformable convolution')
    ] == []
    assert out.count('@[ IoU=') == 12
    assert 'images per second' in out
    assert str(weights) in out
    assert 'epoch 7' in out
    assert 'cpu' in out
    document = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert document['network']['arch'] == 'dla_tiny'
    assert len(document['network']['weights_sha256']) == 64
    assert document['network']['threads'] == 1
    assert document['protocol']['height'] == 64  # the checkpoint's own
    assert document['data']['images'] == str(folder / 'val2017')


def test_json_alone_is_on_stdout(eval_pth, tmp_path):
    status, out, err = eval_pth('--json', '--ids', '100,106', '--flip-test', '--test-scales', '0.5,1')
    assert status == 0
    assert json.loads(out) == json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert json.loads(out)['images'] == 2
    assert 'images per second' in err


def test_ids_from_a_file(eval_pth, tmp_path):
    (tmp_path / 'ids.txt').write_text('100, 103\n109')
    status, out, _ = eval_pth('--json', '--ids', '@{}'.format(tmp_path / 'ids.txt'), '--limit', '2')
    assert (status, json.loads(out)['images']) == (0, 2)


def test_keep_res_pads_to_what_the_network_needs(eval_pth):
    status, out, _ = eval_pth('--json', '--keep-res', batch_size=3)
    assert status == 0
    assert json.loads(out)['protocol']['pad'] == 31


def test_resume_by_flag(eval_pth, tmp_path):
    eval_pth('--limit', '5')
    status, _, _ = eval_pth('--resume')
    assert status == 0
    assert len((tmp_path / 'out' / 'journal.jsonl').read_text().splitlines()) == 1 + 12


def test_resume_with_other_settings(refused, eval_pth):
    eval_pth()
    assert 'protocol.flip_test was false, is now true' in refused('--resume', '--flip-test')


def test_a_bad_image_fails_the_run_at_its_end(eval_pth, tmp_path):
    data = write_data(tmp_path / 'damaged')
    (data / 'val2017' / '004.png').write_bytes(b'\x89PNG\r\n')
    status, out, _ = eval_pth(data=data)
    assert status == 1
    assert '1 image could not be read' in out
    assert '004.png' in out
    status, _, _ = eval_pth('--on-bad-image', 'skip', data=data)
    assert status == 0


def test_with_nothing_given_the_sample_is_detected_well(eval_pth):
    status, out, err = eval_pth('--json', '--limit', '40', weights=None, data=None)
    assert status == 0
    assert 'no --weights: using the built-in sample' in err and 'no --data: using the built-in sample' in err
    assert json.loads(out)['metrics']['AP'] > 0.5  # of 200 images 0.6; the first 40 alone vary more


# What can be wrong with the checkpoint


def test_no_such_weights(refused, tmp_path):
    assert 'nowhere.pth' in refused(weights=tmp_path / 'nowhere.pth')


@pytest.mark.parametrize('part', [0.0, 0.02, 0.5, 0.999])
def test_truncated_weights(refused, tmp_path, weights, part):
    data = weights.read_bytes()
    (tmp_path / 'cut.pth').write_bytes(data[: int(len(data) * part)])
    assert 'cut.pth' in refused(weights=tmp_path / 'cut.pth')


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (self.target, 'w')


def test_a_pickle_bomb_does_not_run(refused, tmp_path):
    # It goes off where it is read without care, so it is a bomb indeed.
    save_weights(tmp_path / 'bomb.pth', more=Bomb(str(tmp_path / 'went-off')))
    code = (
        'import inspect, sys, torch\nmore = {"weights_only": False} if "weights_only" in'
        ' inspect.signature(torch.load).parameters else {}\ntorch.load(sys.argv[1], **more)'
    )
    subprocess.check_call([sys.executable, '-c', code, str(tmp_path / 'bomb.pth')])
    assert (tmp_path / 'went-off').exists()
    (tmp_path / 'went-off').unlink()
    assert 'bomb.pth' in refused(weights=tmp_path / 'bomb.pth')
    assert not (tmp_path / 'went-off').exists()


def test_a_download_page_instead_of_weights(refused, tmp_path):
    (tmp_path / 'page.pth').write_bytes(b'<!DOCTYPE html><html><title>Virus scan warning</title></html>')
    message = refused(weights=tmp_path / 'page.pth')
    assert 'page.pth' in message
    assert 'web page' in message


def test_the_wrong_architecture_names_the_right_one(refused):
    assert '--arch dla_tiny' in refused(arch='res_18')


def test_an_unknown_architecture_names_the_nearest(refused):
    assert 'res_18' in refused(arch='res18')


def test_weights_of_another_task(refused, tmp_path):
    model = create_model('dla_tiny', {'hm': 2, 'wh': 2})
    torch.save({'arch': 'dla_tiny', 'state_dict': model.state_dict()}, str(tmp_path / 'other.pth'))
    assert 'needs hm (one channel per class), wh (2) and reg (2)' in refused(weights=tmp_path / 'other.pth')


def test_other_classes_than_the_data(refused, tmp_path):
    message = refused(weights=save_weights(tmp_path / 'five.pth', classes=5))
    assert '5 classes' in message
    assert '2 categories' in message


# What can be wrong with the data


def test_no_data_folder(refused, tmp_path):
    assert 'nowhere' in refused(data=tmp_path / 'nowhere')


def test_no_annotations_file(refused, tmp_path):
    (tmp_path / 'empty').mkdir()
    assert 'no annotations file' in refused(data=tmp_path / 'empty')
    assert 'nowhere.json' in refused(data=None, annotations=tmp_path / 'nowhere.json')


def test_invalid_json(refused, tmp_path):
    data = write_data(tmp_path / 'data')
    (data / 'annotations' / 'instances_val2017.json').write_text('{"images": [')
    assert 'not valid JSON' in refused(data=data)


def test_all_images_missing(refused, tmp_path):
    data = write_data(tmp_path / 'data')
    for path in (data / 'val2017').iterdir():
        path.unlink()
    assert 'none of the 12 images' in refused(data=data)


def test_ids_that_are_not_there(refused):
    assert 'no image with the id 99' in refused('--ids', '99')


# What can be wrong with the rest


def test_output_folder_that_cannot_be_written(refused, tmp_path):
    (tmp_path / 'file').write_text('in the way')
    assert 'cannot be written' in refused(output=tmp_path / 'file' / 'out')
    assert 'cannot be written' in refused(output='/proc/out')


@NO_GPU
@pytest.mark.parametrize('name', ['cuda', 'cuda:7'])
def test_a_gpu_that_is_not_there(refused, name):
    assert 'cuda' in refused(device=name)


@pytest.mark.parametrize('name', ['gpu', 'cpu:1', 'cuda:-1', 'cuda0', ''])
def test_a_device_that_means_nothing(refused, name):
    assert 'auto, cpu, cuda or cuda:N' in refused(device=name)


def test_auto_finds_a_device(eval_pth):
    assert eval_pth('--limit', '1', device='auto')[0] == 0


def test_weights_or_data_alone(refused, weights, folder):
    assert 'no --weights' in refused(weights=None)
    message = refused(data=None)
    assert '2 classes' in message
    assert 'give the data set' in message
    assert '--images needs' in refused(data=None, images=folder / 'val2017')


@pytest.mark.parametrize(
    'words, message',
    [
        (['--input-height', '100'], 'multiple of 32'),
        (['--keep-res', '--input-height', '64'], 'omit --input-height'),
        (['--test-scales', '0,1'], 'not a positive number'),
    ],
)
def test_sizes_that_the_network_does_not_take(refused, words, message):
    assert message in refused(*words)


@pytest.mark.parametrize(
    'option, value',
    [
        ('--batch-size', '0'),
        ('--workers', '-1'),
        ('--limit', '0'),
        ('--threads', 'two'),
        ('--input-width', '0'),
    ],
)
def test_numbers_that_mean_nothing(eval_pth, option, value):
    status, _, err = eval_pth(option, value)
    assert status == 2
    assert option in err and 'whole number' in err and 'Traceback' not in err


@pytest.mark.parametrize(
    'words',
    [
        [],
        ['nonsense'],
        ['eval-pth', '--no-such-flag'],
        ['eval-pth', '--ids', 'one,two'],
        ['eval-pth', '--ids', '@/nowhere/ids'],
        ['eval-pth', '--ids', ','],
        ['eval-pth', '--test-scales', 'big'],
        ['eval-pth', '--on-bad-image', 'ignore'],
    ],
    ids=str,
)
def test_words_that_are_no_command(capsys, words):
    assert cli.main(words) == 2
    assert 'error: ' in capsys.readouterr()[1]


@pytest.mark.parametrize('command', [command.NAME for command in cli.COMMANDS])
def test_help_is_quick_and_whole(command):
    # torch takes seconds to import; help must not wait for it
    code = (
        f'import sys; from centernet import cli; status = cli.main([{command!r}, "--help"]); '
        'sys.exit(status or "torch" in sys.modules or "cv2" in sys.modules)'
    )
    run = subprocess.run(
        [sys.executable, '-c', code], env=dict(os.environ, PYTHONPATH=SOURCE), stdout=subprocess.PIPE
    )
    assert run.returncode == 0
    assert run.stdout.startswith(f'usage: centernet {command} '.encode())
    assert (b'--output' in run.stdout) == (command != 'fetch')  # which has a folder for each kind of file
    assert b'exit status: 0' in run.stdout and b'(default: ' in run.stdout


def test_flags_have_one_meaning_in_every_command():
    meanings = {}
    for sub in next(iter(cli.build_parser()._subparsers._group_actions)).choices.values():
        for action in sub._actions:
            for flag in action.option_strings:
                meanings.setdefault(flag, set()).add((action.dest, action.type, action.nargs))
    # export and reproduce write several targets at once, modify one
    assert {flag for flag, found in meanings.items() if len(found) > 1} <= {'--target'}


def test_the_output_folder_is_called_after_the_command():
    for name, sub in next(iter(cli.build_parser()._subparsers._group_actions)).choices.items():
        if name not in ('fetch', 'modify', 'doctor'):  # several folders; beside the model; nothing
            assert sub.get_default('output') == f'output/{name}'


def test_the_environment_gives_defaults(monkeypatch):
    monkeypatch.setenv('WEIGHTS', 'models/a.pth')
    monkeypatch.setenv('DATA', 'data/b')
    monkeypatch.setenv('DEVICE', 'cpu')
    found = cli.build_parser().parse_args(['eval-pth'])
    assert (found.weights, found.data, found.device) == ('models/a.pth', 'data/b', 'cpu')
    found = cli.build_parser().parse_args(['eval-pth', '--weights', 'c.pth'])
    assert (found.weights, found.data) == ('c.pth', 'data/b')
    assert cli.build_parser().parse_args(['modify', 'm.onnx']).weights is None  # made of any checkpoint


def test_in_the_container_a_missing_path_is_explained(monkeypatch, refused, tmp_path):
    monkeypatch.setattr(setup, 'IN_CONTAINER', True)
    assert 'MODELS_DIR' in refused(weights=tmp_path / 'nowhere.pth')
    assert 'OUTPUT_DIR' in refused(output='/proc/out')


def test_every_option_is_known_by_its_name():
    meanings = {
        flag
        for sub in next(iter(cli.build_parser()._subparsers._group_actions)).choices.values()
        for action in sub._actions
        for flag in action.option_strings
    }
    assert {
        '--arch',
        '--weights',
        '--data',
        '--device',
        '--batch-size',
        '--workers',
        '--limit',
        '--output',
    } <= meanings


def test_a_reader_that_goes_away_is_no_traceback(folder, weights, tmp_path):
    command = [
        sys.executable,
        '-m',
        'centernet',
        'eval-pth',
        '--weights',
        str(weights),
        '--data',
        str(folder),
        '--device',
        'cpu',
        '--limit',
        '1',
        '--no-progress',
        '--output',
        str(tmp_path / 'out'),
    ]
    run = subprocess.Popen(
        command, env=dict(os.environ, PYTHONPATH=SOURCE), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    run.stdout.close()
    err = run.stderr.read()
    run.stderr.close()
    assert run.wait() == 141
    assert b'Traceback' not in err


@pytest.mark.parametrize('number, status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize('workers', ['0', '2'])
def test_a_signal_ends_the_run_soon_and_tells_how_to_go_on(tmp_path, weights, number, status, workers):
    data = write_data(tmp_path / 'many', count=5000, files=5)
    journal = tmp_path / 'out' / 'journal.jsonl'
    command = [
        sys.executable,
        '-m',
        'centernet',
        'eval-pth',
        '--weights',
        str(weights),
        '--data',
        str(data),
        '--device',
        'cpu',
        '--workers',
        workers,
        '--batch-size',
        '2',
        '--output',
        str(tmp_path / 'out'),
    ]
    run = subprocess.Popen(
        command,
        env=dict(os.environ, PYTHONPATH=SOURCE),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        deadline = time.time() + 120
        while not journal.exists() or len(journal.read_bytes().splitlines()) < 6:
            assert run.poll() is None, run.stderr.read()
            assert time.time() < deadline
            time.sleep(0.02)
        start = time.time()
        # Ctrl-C reaches the loader's processes too, a container's stop only the first one.
        os.killpg(run.pid, number) if number == signal.SIGINT else run.send_signal(number)
        err = run.communicate(timeout=60)[1].decode()
        seconds = time.time() - start
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()
    assert run.returncode == status
    assert 'Traceback' not in err
    assert 'of 5000 images are finished' in err
    assert '--resume' in err
    assert seconds < 10  # one or two, on a machine that is not busy
    assert journal.read_bytes().endswith(b'\n')
