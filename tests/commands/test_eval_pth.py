"""``centernet eval-pth`` as a user runs, resumes and interrupts it."""

import json
import os
import signal
import subprocess
import time

import pytest
import torch
from support.painted import write_data
from support.processes import journal_ids, start


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
    record = document['record']
    assert record['network']['arch'] == 'dla_tiny' and len(record['network']['sha256']) == 64
    assert record['environment']['threads'] == 1
    assert record['protocol']['input_height'] == 64  # the checkpoint's own
    assert record['data']['images'] == str(folder / 'val2017')


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
    assert json.loads(out)['record']['protocol']['pad'] == 31


@pytest.mark.parametrize('most', [3, 150])
def test_the_number_of_detections(eval_pth, tmp_path, most):
    status, out, _ = eval_pth('--limit', '2', '--max-detections', str(most))
    assert status == 0 and f'up to {most} detections' in out
    found = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert len(found) == 2 * most
    record = json.loads((tmp_path / 'out' / 'metrics.json').read_text())['record']
    assert record['protocol']['max_detections'] == most


def test_resume_by_flag(eval_pth, tmp_path):
    eval_pth('--limit', '5')
    status, _, _ = eval_pth('--resume')
    assert status == 0
    assert len(journal_ids(tmp_path / 'out')) == 12


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


def eval_words(weights, data, folder):
    words = ['eval-pth', '--weights', weights, '--data', data, '--device', 'cpu', '--output', folder / 'out']
    return words


def test_a_reader_that_goes_away_is_no_traceback(folder, weights, tmp_path):
    run = start(*eval_words(weights, folder, tmp_path), '--limit', '1', '--no-progress')
    run.stdout.close()
    err = run.stderr.read()
    run.stderr.close()
    assert run.wait() == 141
    assert b'Traceback' not in err


@pytest.mark.parametrize(
    'number, status, workers',
    [
        (signal.SIGINT, 130, '2'),
        (signal.SIGTERM, 143, '0'),
        pytest.param(signal.SIGINT, 130, '0', marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, '2', marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_the_run_soon_and_tells_how_to_go_on(tmp_path, weights, number, status, workers):
    data = write_data(tmp_path / 'many', count=5000, files=5)
    journal = tmp_path / 'out' / 'journal.jsonl'
    words = eval_words(weights, data, tmp_path) + ['--workers', workers, '--batch-size', '2']
    run = start(*words, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.time() + 120
        while not journal.exists() or len(journal.read_bytes().splitlines()) < 6:
            assert run.poll() is None, run.stderr.read()
            assert time.time() < deadline
            time.sleep(0.02)
        sent = time.time()
        # Ctrl-C reaches the loader's processes too, a container's stop only the first one.
        os.killpg(run.pid, number) if number == signal.SIGINT else run.send_signal(number)
        err = run.communicate(timeout=60)[1].decode()
        seconds = time.time() - sent
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


def test_the_entry_of_the_checkpoint(eval_pth, tmp_path, weights):
    """The detections are those of the entry that was asked for, and a run of another one is not resumed."""
    saved = torch.load(str(weights))
    saved['ema'] = {'state_dict': saved.pop('state_dict')}
    saved['model'] = {
        name: value + 0.5 if name == 'hm.2.bias' else value
        for name, value in saved['ema']['state_dict'].items()
    }
    torch.save(saved, str(tmp_path / 'several.pth'))
    several = tmp_path / 'several.pth'
    assert eval_pth('--limit', '2')[0] == 0
    expected = (tmp_path / 'out' / 'results.json').read_text()
    status, out, _ = eval_pth('--limit', '2', '--weights-key', 'ema.state_dict', weights=several)
    assert status == 0 and 'the weights are the entry ema.state_dict of the file' in out
    assert (tmp_path / 'out' / 'results.json').read_text() == expected
    status, _, err = eval_pth('--limit', '2', '--weights-key', 'model', '--resume', weights=several)
    assert status == 2 and 'network.entry was "ema.state_dict", is now "model"' in err
    assert eval_pth('--limit', '2', '--weights-key', 'model', weights=several)[0] == 0
    assert (tmp_path / 'out' / 'results.json').read_text() != expected
