import pytest

from centernet.fetch import choose
from centernet.fetch.catalog import FILES
from centernet.system.errors import OptionError


def test_the_published_files():
    files = {file.name: file for file in FILES}
    assert [name for name, file in files.items() if file.group == 'weights'] == [
        'ctdet_coco_dla_2x.pth',
        'ctdet_coco_resdcn18.pth',
    ]
    assert sum(file.size for file in FILES) == 80911783 + 57825323 + 815585330 + 252907541
    assert files['val2017.zip'].contents.count == 5000
    assert files['annotations_trainval2017.zip'].contents.size == 19987840
    digests = [file.sha256 for file in FILES] + [files['annotations_trainval2017.zip'].contents.sha256]
    assert len({digest for digest in digests if len(digest) == 64 and int(digest, 16)}) == 5


def test_choose():
    everything = list(FILES)
    assert choose() == choose(['all']) == choose(['coco', 'weights']) == everything
    assert [file.name for file in choose(['val2017.zip', 'weights'])] == [
        'ctdet_coco_dla_2x.pth',
        'ctdet_coco_resdcn18.pth',
        'val2017.zip',
    ]
    with pytest.raises(OptionError) as caught:
        choose(['wieghts'])
    assert "'wieghts'" in str(caught.value) and 'weights, coco' in str(caught.value)


def test_mirrors_come_first():
    file = choose(mirrors=['https://one.example/x/', 'http://two.example'])[2]
    assert file.urls == (
        'https://one.example/x/val2017.zip',
        'http://two.example/val2017.zip',
        'http://images.cocodataset.org/zips/val2017.zip',
    )
    for mirror in ('files.example', 'ftp://files.example', 'https://', '/srv/mirror'):
        with pytest.raises(OptionError):
            choose(mirrors=[mirror])
