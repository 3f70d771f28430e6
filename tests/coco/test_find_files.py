"""Annotations and images from elsewhere: other layouts, and file names that another machine wrote."""

import json
import os
import shutil

import pytest

from centernet.coco import CocoData
from centernet.system.errors import DataError


@pytest.fixture
def renamed(make_coco):
    """A function that makes a data set whose images 1, 2, ... have the given file names."""

    def make(*names, **given):
        root = make_coco([dict(image=1)], images=range(1, len(names) + 1), **given)
        path = root / 'annotations' / 'instances_val2017.json'
        dataset = json.loads(path.read_text())
        for image, name in zip(dataset['images'], names):
            image['file_name'] = name
        path.write_text(json.dumps(dataset))
        return root

    return make


def move(root, source, target):
    (root / target).parent.mkdir(parents=True, exist_ok=True)
    (root / source).rename(root / target)


def fails(*args, **kwargs):
    with pytest.raises(DataError) as caught:
        CocoData.load(*args, **kwargs)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def files(data):
    """The images' files, below the folder of the images."""
    return [os.path.relpath(data.file(number), data.images) for number in data.image_ids]


@pytest.mark.parametrize('place', ['', 'annotations'])
def test_images_beside_the_annotations(make_coco, place):
    root = make_coco()
    for path in list((root / 'val2017').iterdir()):
        shutil.move(str(path), str(root / place / path.name))
    (root / 'val2017').rmdir()
    annotations = root / 'annotations' / 'instances_val2017.json'
    assert files(CocoData.load(str(root))) == ['1.png', '2.png']
    data = CocoData.load(annotations=str(annotations))
    assert data.images == str(root / place).rstrip(os.sep)
    assert data.notes == []


@pytest.mark.parametrize('images', ['.', 'images', 'test'])
def test_a_folder_with_one_json_and_images(make_coco, images):
    """As Roboflow writes it."""
    root = make_coco()
    move(root, 'annotations/instances_val2017.json', '_annotations.coco.json')
    (root / 'annotations').rmdir()
    for path in list((root / 'val2017').iterdir()):
        move(root, path, os.path.join(images, path.name))
    given = {'images': str(root / images)} if images == 'test' else {}
    for data in (
        CocoData.load(str(root), **given),
        CocoData.load(annotations=str(root / '_annotations.coco.json'), **given),
    ):
        assert os.path.samefile(data.file(2), str(root / images / '2.png'))
        assert data.notes == []
    (root / 'b.json').write_text('{}')
    assert '_annotations.coco.json, b.json' in fails(str(root))


def test_names_that_contain_the_folder(renamed):
    data = CocoData.load(str(renamed('val2017/1.png', 'val2017/2.png')))
    assert os.path.samefile(data.file(2), os.path.join(data.images, 'val2017', '2.png'))
    assert data.notes == []


@pytest.mark.parametrize(
    'names',
    [
        ('C:\\data\\pets\\1.png', 'C:\\data\\pets\\2.png'),
        ('/home/somebody/pets/1.png', '/home/somebody/pets/2.png'),
        ('pets/of/1.png', 'pets/of/2.png'),
        ('..\\pets\\1.png', '../pets/2.png'),
        ('1.png', 'D:2\\2.png'),
    ],
)
def test_names_of_another_machine(renamed, names):
    root = renamed(*names)
    data = CocoData.load(str(root))
    assert data.images == str(root / 'val2017') and files(data) == ['1.png', '2.png']
    (note,) = data.notes
    first = next(name for name in names if name != '1.png')
    assert first in note and '{} of 2'.format(2 - ('1.png' in names)) in note


def test_the_longest_end_that_exists(renamed):
    root = renamed('C:\\x\\b\\1.png', '/x/a/1.png', 'a\\..\\b\\1.png', 'b/1.png')
    for folder in 'ab':
        (root / 'val2017' / folder).mkdir()
        shutil.copy(str(root / 'val2017' / '1.png'), str(root / 'val2017' / folder / '1.png'))
    message = fails(str(root))  # the third and the last are one file
    assert 'b/1.png' in message and '--images' in message
    path = root / 'annotations' / 'instances_val2017.json'
    dataset = json.loads(path.read_text())
    del dataset['images'][2]
    path.write_text(json.dumps(dataset))
    message = fails(str(root))  # so are the first and the last
    assert 'C:\\x\\b\\1.png' in message
    del dataset['images'][0], dataset['annotations'][:]
    path.write_text(json.dumps(dataset))
    assert files(CocoData.load(str(root))) == ['a/1.png', 'b/1.png']


def test_names_as_they_are_come_first(renamed):
    root = renamed('a\\1.png', '2.png')
    (root / 'val2017' / '1.png').rename(root / 'val2017' / 'a\\1.png')
    (root / 'val2017' / 'a').mkdir()
    (root / 'val2017' / 'a' / '1.png').write_bytes(b'another')
    data = CocoData.load(str(root))
    assert files(data) == ['a\\1.png', '2.png'] and data.notes == []
    absolute = renamed(str(root / 'val2017' / '2.png'), '1.png', root='other')
    (absolute / 'val2017' / '2.png').rename(absolute / 'val2017' / '1.png')
    data = CocoData.load(str(absolute))
    assert data.file(1) == str(root / 'val2017' / '2.png') and data.notes == []


def test_two_images_that_would_be_one_file(renamed):
    message = fails(str(renamed('/a/1.png', '/b/1.png')))
    for part in ('/a/1.png', '1.png in', '--images'):
        assert part in message
    assert '/a/1.png' in fails(str(renamed('1.png', '/a/1.png', root='second')))
    # two entries for one file are allowed
    assert files(CocoData.load(str(renamed('1.png', '1.png', root='third')))) == ['1.png'] * 2


def test_missing_images_keep_their_names(renamed):
    data = CocoData.load(str(renamed('/nowhere/1.png', '/nowhere/8.png')))
    assert data.file(2) == '/nowhere/8.png'
    assert '1 of 2' in data.notes[0]


def test_what_was_looked_for_can_be_given(make_coco, tmp_path):
    (tmp_path / 'empty').mkdir()
    message = fails(str(tmp_path / 'empty'))
    assert 'no annotations file at' in message and 'give --annotations and --images' in message
    for message in (
        fails(str(make_coco(folder='elsewhere'))),
        fails(str(make_coco(root='b')), images=str(tmp_path / 'empty')),
    ):
        assert 'none of the 2 images' in message and '--images' in message
