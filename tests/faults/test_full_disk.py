"""No space: a file system of some kilobytes, and a limit on the size of files, which needs no root."""

import json
import os

import pytest
from support.processes import IMAGES, eval_pth, finish, journal_ids, leftovers, metrics, start
from support.runs import run

from centernet.system.errors import OutputError

FULL, TOO_LARGE = 'No space left on device', 'File too large'


def error_of(finished, expected):
    status, _, err = finished
    assert status == 2, err
    assert 'Traceback' not in err
    line = err.splitlines()[-1]
    assert line.startswith('centernet: error: ') and expected in line
    return line


def test_the_journal_does_not_fit(data, tmp_path, full_disk):
    run(data, tmp_path / 'whole')
    size = (tmp_path / 'whole' / 'journal.jsonl').stat().st_size
    disk = full_disk(size // 2048)
    with pytest.raises(OutputError, match=f'journal.jsonl.*{FULL}.* of 12 images.*--resume'):
        run(data, disk)
    finished = journal_ids(disk)
    assert 0 < len(finished) < 12
    assert os.listdir(str(disk)) == ['journal.jsonl']
    # the user makes room
    out = tmp_path / 'roomy'
    out.mkdir()
    (out / 'journal.jsonl').write_bytes((disk / 'journal.jsonl').read_bytes())
    run(data, out, resume=True)
    assert journal_ids(out)[: len(finished)] == finished
    assert (out / 'results.json').read_bytes() == (tmp_path / 'whole' / 'results.json').read_bytes()


def test_the_results_do_not_fit(data, tmp_path, full_disk):
    run(data, tmp_path / 'whole')
    sizes = [(tmp_path / 'whole' / name).stat().st_size for name in ('journal.jsonl', 'results.json')]
    disk = full_disk((sizes[0] + sizes[1] // 2) // 1024)
    with pytest.raises(OutputError, match=f'results.json.*{FULL}'):
        run(data, disk)
    assert os.listdir(str(disk)) == ['journal.jsonl']
    assert len(journal_ids(disk)) == 12


@pytest.mark.slow
def test_a_limit_on_files_stops_eval_pth_and_it_can_be_resumed(sample_like_data, whole, tmp_path):
    out = tmp_path / 'out'
    size = (whole / 'journal.jsonl').stat().st_size
    line = error_of(finish(eval_pth(sample_like_data, out, largest_file=size // 2)), TOO_LARGE)
    assert '--resume' in line
    assert 0 < len(journal_ids(out)) < IMAGES
    assert leftovers(out) == []
    assert finish(eval_pth(sample_like_data, out, '--resume'))[0] == 0
    assert metrics(out) == metrics(whole)


@pytest.mark.slow
@pytest.mark.parametrize('kilobytes', [4, 200, 900])
def test_export(full_disk, kilobytes):
    disk = full_disk(kilobytes)
    error_of(finish(start('export', '--target', 'onnx', '--output', disk)), FULL)
    assert os.listdir(str(disk)) == []


@pytest.mark.slow
def test_export_under_a_limit_on_files(tmp_path):
    line = error_of(
        finish(start('export', '--target', 'onnx', '--output', tmp_path, largest_file=100000)), TOO_LARGE
    )
    assert 'dla_tiny_onnx.onnx' in line
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.slow
def test_modify_on_a_full_disk(tmp_path, full_disk):
    assert finish(start('export', '--raw', '--output', tmp_path))[0] == 0
    disk = full_disk(100)
    error_of(finish(start('modify', tmp_path / 'dla_tiny.onnx', '--output', disk / 'out.onnx')), FULL)
    assert os.listdir(str(disk)) == []


@pytest.mark.slow
@pytest.mark.parametrize('kilobytes', [4, 300])
def test_sample(full_disk, kilobytes):
    disk = full_disk(kilobytes)
    error_of(finish(start('sample', '--limit', '20', '--output', disk / 'sample')), FULL)
    assert os.listdir(str(disk)) == []


def test_sample_under_a_limit_on_files(tmp_path):
    error_of(
        finish(start('sample', '--limit', '5', '--output', tmp_path / 'sample', largest_file=4000)), TOO_LARGE
    )
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.skipif(
    not os.path.exists('/dev/full'), reason='no /dev/full, which acts as a full disk for stdout'
)
def test_printed_output_does_not_fit(sample_like_data, tmp_path):
    with open('/dev/full', 'w') as full:
        error_of(
            finish(eval_pth(sample_like_data, tmp_path / 'out', '--limit', '4', '--json', stdout=full)),
            'cannot print: ' + FULL,
        )
    assert json.loads((tmp_path / 'out' / 'metrics.json').read_text())['images'] == 4
    with open('/dev/full', 'w') as full:  # so little that it stays in a buffer until the end
        error_of(
            finish(start('sample', '--limit', '1', '--output', tmp_path / 'sample', stdout=full)),
            'cannot print: ' + FULL,
        )
