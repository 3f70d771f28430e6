"""Zip archives: what is extracted, and what is kept. Their SHA-256 is compared before."""

import hashlib
import os
import zipfile

import pytest

from centernet.fetch.catalog import ZippedFile, ZippedFolder
from centernet.fetch.unpack import unpack
from centernet.system.errors import FetchError, OutputError

IMAGES = {f'val/{index:03d}.jpg': bytes([index]) * (100 + index) for index in range(7)}
ANNOTATIONS = b'{"images": []}' * 50
FOLDER = ZippedFolder('val', '.jpg', 7)
FILE = ZippedFile('annotations/instances.json', len(ANNOTATIONS), hashlib.sha256(ANNOTATIONS).hexdigest())
OTHERS = (
    'annotations/captions.json',
    '../outside.jpg',
    'val/../../outside.jpg',
    'val/..jpg',
    'val/sub/a.jpg',
    'val/a.exe',
)
USUAL = dict(IMAGES, **{'val/': b'', FILE.path: ANNOTATIONS}, **dict.fromkeys(OTHERS, b'?'))


@pytest.fixture
def archive(tmp_path):
    path = str(tmp_path / 'data.zip')
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
        for name, data in USUAL.items():
            file.writestr(name, data)
    return path


def tree(root):
    """Relative path -> content."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob('*') if path.is_file()}


def test_unpack(archive, tmp_path):
    root = tmp_path / 'deep' / 'root'
    unpack(archive, FOLDER, str(root))
    assert tree(root) == IMAGES
    unpack(archive, FILE, str(root))
    assert tree(root) == dict(IMAGES, **{FILE.path: ANNOTATIONS})
    assert sorted(os.listdir(str(tmp_path))) == ['data.zip', 'deep']
    assert os.listdir(str(tmp_path / 'deep')) == ['root']


def test_existing_files_are_kept(archive, tmp_path):
    root = tmp_path / 'root'
    unpack(archive, FOLDER, str(root))
    unpack(archive, FILE, str(root))
    kept, short, missing = (root / 'val' / f'{index:03d}.jpg' for index in (1, 2, 3))
    os.utime(str(kept), (1, 1))
    short.write_bytes(b'short')
    missing.unlink()
    (root / 'val' / '003.jpg.part').write_bytes(b'of a process that was killed')
    (root / 'val' / 'own.txt').write_bytes(b'mine')
    (root / FILE.path).write_bytes(ANNOTATIONS[::-1])
    for contents in (FOLDER, FILE):
        unpack(archive, contents, str(root))
    assert tree(root) == dict(IMAGES, **{'val/own.txt': b'mine', FILE.path: ANNOTATIONS})
    assert kept.stat().st_mtime == 1


@pytest.mark.parametrize('start, end', [(0, -30), (0, 0), (60, 100)], ids=['cut', 'empty', 'overwritten'])
def test_a_damaged_archive(archive, tmp_path, start, end):
    with open(archive, 'rb') as file:
        data = file.read()
    with open(archive, 'wb') as file:
        file.write(data[:start] + b'\xff' * (end - start) + data[end:] if start else data[:end])
    with pytest.raises(FetchError):
        unpack(archive, FOLDER, str(tmp_path / 'root'))
    whole = {name: data for name, data in tree(tmp_path).items() if name.endswith('.jpg')}
    assert all(IMAGES[name[len('root/') :]] == data for name, data in whole.items())


def test_a_folder_that_cannot_be_made(archive, tmp_path):
    (tmp_path / 'root').write_text('in the way')
    with pytest.raises(OutputError):
        unpack(archive, FOLDER, str(tmp_path / 'root'))
