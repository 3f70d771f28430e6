"""Zip archives, many of them hostile or damaged."""

import hashlib
import os
import random
import shutil
import struct
import warnings
import zipfile

import pytest

from centernet.errors import FetchError, OutputError
from centernet.fetch.catalog import ZippedFile, ZippedFolder
from centernet.fetch.unpack import unpack

IMAGES = {f'val/{index:03d}.jpg': bytes([index]) * (100 + index) for index in range(7)}
ANNOTATIONS = b'{"images": []}' * 50
FOLDER = ZippedFolder('val', '.jpg', 7, 1000)
FILE = ZippedFile('annotations/instances.json', len(ANNOTATIONS), hashlib.sha256(ANNOTATIONS).hexdigest())
USUAL = dict(
    IMAGES,
    **{'val/': b'', FILE.path: ANNOTATIONS, 'annotations/captions.json': b'{}', '../outside.txt': b'?'},
)


@pytest.fixture
def make(tmp_path):
    """Write a zip archive of a dict, or of pairs of a name (or ZipInfo) and content; return its path."""

    def write(content, how=zipfile.ZIP_DEFLATED, change=lambda data: data):
        path = tmp_path / 'data.zip'
        with warnings.catch_warnings(), zipfile.ZipFile(str(path), 'w', how) as file:
            warnings.simplefilter('ignore')  # two members of one name are meant
            for name, data in content.items() if isinstance(content, dict) else content:
                file.writestr(name, data)
        path.write_bytes(change(path.read_bytes()))
        return str(path)

    return write


def tree(root):
    """Relative path -> content."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob('*') if path.is_file()}


def whole(root):
    """The files that have got their names."""
    return {name: data for name, data in tree(root).items() if not name.endswith('.part')}


def refused(path, contents, root):
    with pytest.raises(FetchError) as caught:
        unpack(path, contents, str(root))
    return str(caught.value)


def test_unpack(make, tmp_path):
    path, root = make(USUAL), tmp_path / 'deep' / 'root'
    unpack(path, FOLDER, str(root))
    assert tree(root) == IMAGES
    unpack(path, FILE, str(root))
    assert tree(root) == dict(IMAGES, **{FILE.path: ANNOTATIONS})
    assert os.listdir(str(tmp_path / 'deep')) == ['root']


def test_existing_images_are_kept(make, tmp_path):
    path, root = make(USUAL), tmp_path / 'root'
    unpack(path, FOLDER, str(root))
    kept, short, missing = (root / 'val' / f'{index:03d}.jpg' for index in (1, 2, 3))
    os.utime(str(kept), (1, 1))
    short.write_bytes(b'short')
    missing.unlink()
    (root / 'val' / '003.jpg.part').write_bytes(b'of a process that was killed')
    (root / 'val' / 'own.txt').write_bytes(b'mine')
    unpack(path, FOLDER, str(root))
    assert tree(root) == dict(IMAGES, **{'val/own.txt': b'mine'})
    assert kept.stat().st_mtime == 1


@pytest.mark.parametrize(
    'name',
    [
        'val/../../outside.jpg',
        'val//etc.jpg',
        'val/sub/a.jpg',
        'val/..',
        'val/.hidden.jpg',
        'val/a\\b.jpg',
        'val/a.exe',
        'val/a\nb.jpg',
    ],
)
def test_zip_slip(make, tmp_path, name):
    assert 'unexpected file' in refused(make(dict(USUAL, **{name: b'x'})), FOLDER, tmp_path / 'root')
    assert tree(tmp_path / 'root') == {}


@pytest.mark.parametrize(
    'content, contents, message',
    [
        (list(USUAL.items()) + [('val/001.jpg', b'again')], FOLDER, '8 files'),
        (list(USUAL.items()) + [('val/001.jpg', b'again')], FOLDER._replace(count=8), '8 files'),
        (dict(USUAL, **{'val/more.jpg': b'x'}), FOLDER, '8 files in val/, expected 7'),
        ({}, FOLDER, '0 files'),
        ({}, FILE, 'annotations/instances.json'),
        (dict(USUAL, **{'val/000.jpg': b'x' * 2000}), FOLDER, 'exceeds 1000 bytes'),
        (dict(USUAL, **{FILE.path: ANNOTATIONS + b' '}), FILE, f'{len(ANNOTATIONS)} bytes'),
        (dict(USUAL, **{FILE.path: ANNOTATIONS[::-1]}), FILE, 'SHA-256'),
    ],
)
def test_unexpected_contents(make, tmp_path, content, contents, message):
    assert message in refused(make(content), contents, tmp_path / 'root')
    assert tree(tmp_path / 'root') == {}


def claim_size(name, size):
    """A change of an archive's bytes: both of its directories claim another size for a member."""

    def change(data):
        data = bytearray(data)
        for mark, size_at, name_at in ((b'PK\x03\x04', 22, 30), (b'PK\x01\x02', 24, 46)):
            at = data.find(mark)
            while bytes(data[at + name_at : at + name_at + len(name)]) != name.encode():
                at = data.index(mark, at + 4)
            struct.pack_into('<I', data, at + size_at, size)
        return bytes(data)

    return change


@pytest.mark.parametrize('real, claimed', [(50 << 20, 100), (100, 1000)])
def test_a_false_size(make, tmp_path, real, claimed):
    path = make(dict(USUAL, **{'val/000.jpg': b'\0' * real}), change=claim_size('val/000.jpg', claimed))
    refused(path, FOLDER._replace(max_size=10000), tmp_path / 'root')
    found = tree(tmp_path / 'root')
    assert 'val/000.jpg' not in found
    assert all(len(data) <= 1000 for data in found.values())  # no more of the bomb than it claimed


def encrypt(data):
    """Set the flag of encryption on every member."""
    data = bytearray(data)
    for mark, at in ((b'PK\x03\x04', 6), (b'PK\x01\x02', 8)):
        found = data.find(mark)
        while found >= 0:
            data[found + at] |= 1
            found = data.find(mark, found + 4)
    return bytes(data)


@pytest.mark.parametrize(
    'change',
    [
        lambda data: data[:-30],
        lambda data: data[:300],
        lambda data: b'',
        encrypt,
        lambda data: data[:60] + b'\xff' * 40 + data[100:],
    ],
    ids=['end cut', 'most cut', 'empty', 'encrypted', 'bits flipped'],
)
def test_damaged_archives(make, tmp_path, change):
    refused(make(USUAL, change=change), FOLDER, tmp_path / 'root')
    assert whole(tmp_path / 'root').items() <= IMAGES.items()


def test_archives_with_random_damage(make, tmp_path):
    seed, times = random.randrange(1 << 30), 150
    dice, failed = random.Random(seed), 0

    def damage(data):
        data = bytearray(data)
        for _ in range(dice.choice((1, 2, 5))):
            at = dice.randrange(len(data))
            data[at : at + dice.choice((0, 1, 1, 4))] = bytes(
                dice.randrange(256) for _ in range(dice.choice((0, 1, 1, 4)))
            )
        return bytes(data)

    for _ in range(times):
        path, root = make(USUAL, change=damage), tmp_path / 'root'
        for contents in (FOLDER, FILE):
            try:
                unpack(path, contents, str(root))
            except FetchError:
                failed += 1
        assert whole(root).items() <= dict(IMAGES, **{FILE.path: ANNOTATIONS}).items(), seed
        shutil.rmtree(str(root), ignore_errors=True)
    assert times / 4 < failed < 2 * times


def test_a_folder_that_cannot_be_made(make, tmp_path):
    (tmp_path / 'root').write_text('in the way')
    with pytest.raises(OutputError):
        unpack(make(USUAL), FOLDER, str(tmp_path / 'root'))
