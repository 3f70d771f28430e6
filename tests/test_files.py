"""atomic_write: what it leaves when processes are killed, write at once, or may not write."""

import glob
import os
import threading

import pytest

from centernet.system.errors import OutputError
from centernet.system.files import atomic_write


def write(path, text):
    with atomic_write(str(path)) as file:
        file.write(text)


def test_what_a_killed_process_left_is_written_over_without_a_look_at_the_folder(tmp_path, monkeypatch):
    (tmp_path / '.a.json.part').write_text('half of a long file')
    for name in ('listdir', 'scandir'):
        monkeypatch.setattr(os, name, None)
    monkeypatch.setattr(glob, 'glob', None)
    write(tmp_path / 'a.json', 'new')
    monkeypatch.undo()
    assert os.listdir(str(tmp_path)) == ['a.json'] and (tmp_path / 'a.json').read_text() == 'new'


def test_the_umask_decides_who_may_read_and_stays_as_it_is(tmp_path, monkeypatch):
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, 'umask', None)
        write(tmp_path / 'a', '')
        assert os.stat(str(tmp_path / 'a')).st_mode & 0o777 == 0o640
    finally:
        monkeypatch.undo()
        os.umask(before)


def test_writers_of_one_path_take_turns(tmp_path):
    def write_often(letter):
        for _ in range(100):
            write(tmp_path / 'a', letter * 5000)
            text = (tmp_path / 'a').read_text()
            broken.extend([text] if len(text) != 5000 or len(set(text)) != 1 else [])

    broken = []
    threads = [threading.Thread(target=write_often, args=[letter]) for letter in 'abcd']
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert broken == [] and os.listdir(str(tmp_path)) == ['a']


def test_an_error_leaves_the_file_as_it_was(tmp_path):
    write(tmp_path / 'a', 'old')
    with pytest.raises(ZeroDivisionError), atomic_write(str(tmp_path / 'a')) as file:
        file.write(str(1 / 0))
    with pytest.raises(OutputError, match=r'cannot write .*missing'):
        write(tmp_path / 'missing' / 'a', '')
    (tmp_path / '.a.part').symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(OutputError):
        write(tmp_path / 'a', 'new')
    assert (tmp_path / 'a').read_text() == 'old' and not (tmp_path / 'elsewhere').exists()
