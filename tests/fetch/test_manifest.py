import copy
import json

import pytest

from centernet.errors import FetchError
from centernet.fetch import choose, read_manifest, with_mirrors

ENTRY = {
    'name': 'a.zip',
    'group': 'coco',
    'bytes': 5,
    'sha256': '0' * 64,
    'mirrors': ['https://files.example/a.zip'],
    'unpack': [
        {'folder': 'val', 'suffix': '.jpg', 'files': 1, 'bytes_at_most': 9},
        {'file': 'annotations/a.json', 'bytes': 2, 'sha256': '1' * 64},
    ],
}


def read(tmp_path, content):
    path = tmp_path / 'manifest.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_manifest(str(path))


def test_the_manifest_that_comes_with_the_package():
    items = {item.name: item for item in read_manifest()}
    assert [name for name, item in items.items() if item.group == 'weights'] == [
        'ctdet_coco_dla_2x.pth',
        'ctdet_coco_resdcn18.pth',
    ]
    assert sum(item.bytes for item in items.values()) == 80911783 + 57825323 + 815585330 + 252907541
    assert items['val2017.zip'].unpack[0].files == 5000
    assert items['annotations_trainval2017.zip'].unpack[0].bytes == 19987840


def test_words_choose():
    items = read_manifest()
    assert choose(items, []) == choose(items, ['all']) == choose(items, ['coco', 'weights']) == items
    assert [item.name for item in choose(items, ['val2017.zip', 'weights'])] == [
        'ctdet_coco_dla_2x.pth',
        'ctdet_coco_resdcn18.pth',
        'val2017.zip',
    ]
    with pytest.raises(FetchError) as caught:
        choose(items, ['wieghts'])
    assert "'wieghts'" in str(caught.value) and 'weights, coco' in str(caught.value)


def test_further_mirrors_come_first(tmp_path):
    (item,) = with_mirrors(
        read(tmp_path, {'files': [ENTRY]}), ['https://one.example/x/', 'http://two.example']
    )
    assert item.mirrors == (
        'https://one.example/x/a.zip',
        'http://two.example/a.zip',
        'https://files.example/a.zip',
    )
    for address in ('files.example', 'ftp://files.example', 'https://', 'http://[::1', '/srv/mirror'):
        with pytest.raises(FetchError):
            with_mirrors([item], [address])


@pytest.mark.parametrize(
    'content, message',
    [
        ('{', 'not valid JSON'),
        ('[]', 'no list'),
        ('{"files": []}', 'no list'),
        ('{"files": {}}', 'no list'),
        ({'files': [ENTRY, dict(ENTRY)]}, 'a.zip twice'),
        ({'files': ['a']}, 'file 1: it is not an object'),
    ],
)
def test_what_is_no_manifest(tmp_path, content, message):
    with pytest.raises(FetchError) as caught:
        read(tmp_path, content)
    assert message in str(caught.value)


def test_no_manifest(tmp_path):
    with pytest.raises(FetchError) as caught:
        read_manifest(str(tmp_path / 'nowhere.json'))
    assert 'nowhere.json' in str(caught.value)


@pytest.mark.parametrize(
    'keys, value',
    [
        (['name'], '../a.zip'),
        (['name'], '/a.zip'),
        (['name'], 'b/a.zip'),
        (['name'], '.hidden'),
        (['name'], ''),
        (['name'], 'a\n'),
        (['name'], 3),
        (['group'], 'music'),
        (['group'], None),
        (['bytes'], 0),
        (['bytes'], '5'),
        (['bytes'], True),
        (['sha256'], 'f' * 63),
        (['sha256'], 'F' * 64),
        (['mirrors'], []),
        (['mirrors'], 'https://files.example'),
        (['mirrors', 0], 'file:///etc/passwd'),
        (['mirrors', 0], 7),
        (['unpack'], []),
        (['unpack'], 'val'),
        (['unpack', 0], 7),
        (['unpack', 0, 'folder'], '../val'),
        (['unpack', 0, 'folder'], 'a/b'),
        (['unpack', 0, 'suffix'], 'jpg'),
        (['unpack', 0, 'files'], -1),
        (['unpack', 0, 'bytes_at_most'], 1.5),
        (['unpack', 1, 'file'], 'annotations/../../a.json'),
        (['unpack', 1, 'file'], '/a.json'),
        (['unpack', 1, 'sha256'], None),
        (['more'], 1),
        (['unpack', 1, 'more'], 1),
    ],
    ids=str,
)
def test_entries_that_are_wrong(tmp_path, keys, value):
    entry = copy.deepcopy(ENTRY)
    place = entry
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    with pytest.raises(FetchError) as caught:
        read(tmp_path, {'files': [entry]})
    assert 'file 1: ' in str(caught.value)


@pytest.mark.parametrize('key', ['name', 'group', 'bytes', 'sha256', 'mirrors'])
def test_entries_that_lack_something(tmp_path, key):
    with pytest.raises(FetchError) as caught:
        read(tmp_path, {'files': [{name: value for name, value in ENTRY.items() if name != key}]})
    assert f'no "{key}"' in str(caught.value)
