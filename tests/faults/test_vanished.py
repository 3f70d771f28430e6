"""The output folder goes away while a run lasts."""

import os
import shutil

from support.processes import IMAGES, eval_pth, finish, journal_ids, metrics, start, wait_for


def test_eval_pth_writes_all_of_it_again(data, whole, tmp_path):
    out = tmp_path / 'out'
    process = eval_pth(data, out)
    assert wait_for(lambda: 10 < len(journal_ids(out)) < IMAGES - 10, process)
    shutil.rmtree(str(out))
    status, _, err = finish(process)
    assert status == 0, err
    assert 'has vanished during the run' in err
    assert len(journal_ids(out)) == IMAGES
    assert (out / 'results.json').read_bytes() == (whole / 'results.json').read_bytes()
    assert metrics(out) == metrics(whole)


def test_eval_pth_where_it_cannot_be_made_again(data, tmp_path):
    (tmp_path / 'above').mkdir()
    out = tmp_path / 'above' / 'out'
    process = eval_pth(data, out)
    assert wait_for(lambda: 10 < len(journal_ids(out)) < IMAGES - 10, process)
    os.rename(str(tmp_path / 'above'), str(tmp_path / 'away'))
    (tmp_path / 'above').write_text('a file in the way')
    status, _, err = finish(process)
    assert status == 2, err
    assert 'has vanished during the run, and cannot be written anew' in err.splitlines()[-1]
    assert 'Traceback' not in err
    # what was moved away can still be gone on with
    status, _, err = finish(eval_pth(data, tmp_path / 'away' / 'out', '--resume'))
    assert status == 0, err
    assert sorted(journal_ids(tmp_path / 'away' / 'out')) == sorted(
        set(journal_ids(tmp_path / 'away' / 'out'))
    )


def test_another_run_in_its_place_is_not_touched(data, tmp_path):
    out = tmp_path / 'out'
    process = eval_pth(data, out)
    assert wait_for(lambda: 10 < len(journal_ids(out)) < IMAGES - 10, process)
    os.rename(str(out), str(tmp_path / 'away'))
    out.mkdir()
    (out / 'journal.jsonl').write_text('of somebody else')
    status, _, err = finish(process)
    # in the moment between the two lines the run may have written its journal anew; then it was the first
    if status:
        assert status == 2 and 'was replaced during the run' in err.splitlines()[-1]
        assert (out / 'journal.jsonl').read_text() == 'of somebody else'


def test_export_says_so(tmp_path):
    out = tmp_path / 'out'
    process = start('export', '--target', 'all', '--output', out)
    assert wait_for(out.exists, process)
    shutil.rmtree(str(out))
    status, _, err = finish(process)
    assert status == 2, err
    assert 'Traceback' not in err and 'No such file or directory' in err.splitlines()[-1]
