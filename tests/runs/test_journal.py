import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from support.painted import PaintNetwork, write_data
from support.processes import journal_ids
from support.runs import record, run

from centernet.coco import CocoData
from centernet.runs.run import Run
from centernet.system.errors import DataError, Interrupted, OptionError, OutputError


def journal_lines(folder):
    return (folder / 'journal.jsonl').read_bytes().split(b'\n')


class Stopping(PaintNetwork):
    """Raises ``error`` at its n-th batch."""

    def __init__(self, error, after):
        super().__init__()
        self.error = error
        self.after = after

    def __call__(self, images):
        if len(self.batches) == self.after:
            raise self.error
        return super().__call__(images)


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('error', [KeyboardInterrupt(), SystemExit(143)], ids=repr)
def test_an_interrupted_run_is_resumed(data, tmp_path, error, workers):
    with pytest.raises(Interrupted, match=r'6 of 12 images .*--resume') as caught:
        run(data, tmp_path / 'out', Stopping(error, after=3), workers=workers)
    assert caught.value.__cause__ is error
    assert not (tmp_path / 'out' / 'results.json').exists()
    network = PaintNetwork()
    found = run(data, tmp_path / 'out', network, resume=True, workers=workers)
    assert sum(network.batches) == 6
    assert len(journal_ids(tmp_path / 'out')) == 12
    assert found.timings['images'] == 12
    whole = run(data, tmp_path / 'whole')
    assert (tmp_path / 'out' / 'results.json').read_bytes() == (
        tmp_path / 'whole' / 'results.json'
    ).read_bytes()
    assert found.metrics == whole.metrics


def test_a_new_run_removes_the_figures_of_the_old_one(data, tmp_path):
    run(data, tmp_path / 'out', limit=4)
    assert (tmp_path / 'out' / 'metrics.json').exists()
    with pytest.raises(Interrupted):
        run(data, tmp_path / 'out', Stopping(KeyboardInterrupt(), after=3))
    assert os.listdir(str(tmp_path / 'out')) == ['journal.jsonl'], 'figures of another run beside the journal'


def test_a_journal_with_unknown_entries_is_resumed(data, tmp_path):
    """Earlier versions stored the damage of an image."""
    first = run(data, tmp_path / 'out').detections
    lines = journal_lines(tmp_path / 'out')
    lines[3] = json.dumps(dict(json.loads(lines[3].decode()), damage='Corrupt JPEG data')).encode()
    (tmp_path / 'out' / 'journal.jsonl').write_bytes(b'\n'.join(lines))
    network = PaintNetwork()
    assert run(data, tmp_path / 'out', network, resume=True).detections == first
    assert network.batches == []


def test_a_finished_run_is_not_run_again(data, tmp_path):
    first = run(data, tmp_path / 'out').detections
    network = PaintNetwork()
    again = run(data, tmp_path / 'out', network, resume=True)
    assert network.batches == []
    assert again.detections == first


def test_resume_without_a_journal_starts_at_the_beginning(data, tmp_path):
    assert run(data, tmp_path / 'out', resume=True).document['images'] == 12


def test_without_resume_the_old_journal_is_replaced(data, tmp_path):
    run(data, tmp_path / 'out')
    network = PaintNetwork()
    run(data, tmp_path / 'out', network)
    assert sum(network.batches) == 12
    assert len(journal_ids(tmp_path / 'out')) == 12


def test_a_resumed_run_may_take_more_images_and_other_batches(data, tmp_path):
    run(data, tmp_path / 'out', limit=5)
    network = PaintNetwork()
    found = run(data, tmp_path / 'out', network, resume=True, batch_size=3)
    assert sum(network.batches) == 7
    assert found.detections == run(data, tmp_path / 'whole').detections


@pytest.mark.parametrize('cut', [1, 20, 60])
def test_an_incomplete_last_line_is_dropped(data, tmp_path, cut):
    whole = run(data, tmp_path / 'whole').detections
    with pytest.raises(Interrupted):
        run(data, tmp_path / 'out', Stopping(KeyboardInterrupt(), after=5))
    path = tmp_path / 'out' / 'journal.jsonl'
    path.write_bytes(path.read_bytes()[:-cut])
    network = PaintNetwork()
    assert run(data, tmp_path / 'out', network, resume=True).detections == whole
    assert sum(network.batches) == 3
    assert all(json.loads(line.decode()) for line in journal_lines(tmp_path / 'out')[:-1])


def test_a_journal_that_is_damaged_in_the_middle_is_an_error(data, tmp_path):
    run(data, tmp_path / 'out')
    lines = journal_lines(tmp_path / 'out')
    lines[4] = lines[4][:30]
    (tmp_path / 'out' / 'journal.jsonl').write_bytes(b'\n'.join(lines))
    with pytest.raises(DataError, match=r'damaged in line 5: choose another'):
        run(data, tmp_path / 'out', resume=True)


@pytest.mark.parametrize(
    'change, words',
    [
        ({'flip_test': True}, 'protocol.flip_test was false, is now true'),
        ({'input_width': 96}, 'protocol.input_width was 64, is now 96'),
        ({'test_scales': (0.5, 1.0)}, r'protocol.test_scales was \[1.0\], is now \[0.5, 1.0\]'),
        ({'keep_res': True}, 'protocol.keep_res was false, is now true'),
    ],
    ids=str,
)
def test_other_settings_are_refused(data, tmp_path, change, words):
    run(data, tmp_path / 'out')
    with pytest.raises(OptionError, match=words):
        run(data, tmp_path / 'out', resume=True, **change)
    assert len(journal_ids(tmp_path / 'out')) == 12  # nothing was lost


def test_other_weights_and_other_annotations_are_refused(data, data_folder, tmp_path):
    run(data, tmp_path / 'out')
    network = PaintNetwork(sha256='other')
    with pytest.raises(OptionError, match=r'network\.sha256 was "none", is now "other"'):
        run(data, tmp_path / 'out', network, resume=True)
    path = data_folder / 'annotations' / 'instances_val2017.json'
    path.write_text(path.read_text() + '\n')
    with pytest.raises(OptionError, match=r'data\.sha256'):
        run(CocoData.load(str(data_folder)), tmp_path / 'out', resume=True)


def test_two_runs_do_not_share_a_journal(data, tmp_path):
    with Run.begin(str(tmp_path / 'out'), record(data)):
        child = os.fork()
        if not child:  # the child must not return into pytest
            try:
                Run.begin(str(tmp_path / 'out'), record(data))
            except OutputError as error:
                os._exit(3 if 'another run' in str(error) else 4)
            os._exit(5)
        _, status = os.waitpid(child, 0)
    assert os.WEXITSTATUS(status) == 3


KILLED = textwrap.dedent("""
    import sys
    sys.path.insert(0, {tests!r})
    from support.painted import PaintNetwork
    from support.runs import run
    from centernet.coco import CocoData
    run(CocoData.load({data!r}), {out!r}, PaintNetwork(seconds_per_batch=0.1), workers={workers})
""")


@pytest.mark.parametrize('workers', [0, 2])
def test_a_run_killed_half_way(tmp_path, workers):
    folder = write_data(tmp_path / 'data', count=60, files=5)
    data = CocoData.load(str(folder))
    out = tmp_path / 'out'
    code = KILLED.format(
        tests=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        data=str(folder),
        out=str(out),
        workers=workers,
    )
    victim = subprocess.Popen([sys.executable, '-c', code])
    try:
        deadline = time.time() + 120
        while not (out / 'journal.jsonl').exists() or len(journal_lines(out)) < 10:
            assert victim.poll() is None, 'it ended before it could be killed'
            assert time.time() < deadline, 'it did not start'
            time.sleep(0.01)
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    finished = len(journal_ids(out))
    assert 6 <= finished < 60
    network = PaintNetwork()
    run(data, out, network, resume=True)
    assert sum(network.batches) == 60 - finished
    assert sorted(journal_ids(out)) == sorted(data.image_ids)
    run(data, tmp_path / 'whole')
    assert (out / 'results.json').read_bytes() == (tmp_path / 'whole' / 'results.json').read_bytes()
