"""Which files the words of the command line stand for."""

import os

import pytest

from centernet.pictures.find import find_files
from centernet.system.errors import OptionError


@pytest.fixture
def files(tmp_path, monkeypatch):
    """photos/{a.jpg, b.PNG, notes.txt, .hidden.jpg, trip/{a.jpg, clip.mp4}, .cache/c.jpg}, other/a.jpg"""
    names = ('photos/a.jpg', 'photos/b.PNG', 'photos/notes.txt', 'photos/.hidden.jpg', 'photos/trip/a.jpg')
    for name in (*names, 'photos/trip/clip.mp4', 'photos/.cache/c.jpg', 'other/a.jpg'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')
    monkeypatch.chdir(str(tmp_path))
    return tmp_path


def names(*words):
    return [file.name for file in find_files(words)]


def test_a_folder_with_its_subfolders(files):
    assert names('photos') == ['a.jpg', 'b.PNG', 'trip/a.jpg', 'trip/clip.mp4']
    assert [file.is_video for file in find_files(['photos'])] == [False, False, False, True]


def test_files_patterns_and_lists(files):
    assert names('photos/notes.txt') == ['notes.txt'], 'a file that is named is read, whatever its name'
    assert names('photos/*.jpg', 'photos/b.PNG') == ['a.jpg', 'b.PNG']
    assert names('photos/**/*.mp4') == ['clip.mp4']
    (files / 'list').write_text('photos/b.PNG\n\nother\n', encoding='utf-8')
    assert names('@list') == ['b.PNG', 'a.jpg']


def test_a_file_counts_once(files):
    assert names('photos/a.jpg', 'photos', 'photos/../photos/a.jpg') == [
        'a.jpg',
        'b.PNG',
        'trip/a.jpg',
        'trip/clip.mp4',
    ]


def test_files_of_one_name_get_their_folders(files):
    assert names('photos/a.jpg', 'photos/trip/a.jpg', 'other/a.jpg') == ['a.jpg', 'trip/a.jpg', 'other/a.jpg']


@pytest.mark.parametrize('word', ['missing', 'photos/*.gif', 'empty', '@empty-list'])
def test_nothing_there(files, word):
    os.mkdir('empty')
    (files / 'empty-list').write_text('')
    with pytest.raises(OptionError, match=word.replace('*', r'\*')):
        find_files([word])


def test_a_list_that_cannot_be_read(files):
    for word in ('@missing', '@photos', '@bytes'):
        (files / 'bytes').write_bytes(b'\xff\xfe\xff')
        with pytest.raises(OptionError, match='cannot read the files in'):
            find_files([word])
