"""Zips, most of them hostile."""

import builtins
import hashlib
import os
import random
import shutil
import signal
import stat
import struct
import warnings
import zipfile

import pytest

from centernet.errors import FetchError, OutputError
from centernet.fetch import Item, unpacking
from centernet.fetch.manifest import Folder, Member
from centernet.fetch.unpacking import WORK, look, working_folder

PICTURES = {f'val/{index:03d}.jpg': bytes([index]) * (100 + index) for index in range(7)}
#: how many damaged zips are tried
TIMES = 300
ANNOTATIONS = b'{"images": []}' * 50
FOLDER = Folder('val', '.jpg', 7, 1000)
MEMBER = Member('annotations/instances.json', len(ANNOTATIONS), hashlib.sha256(ANNOTATIONS).hexdigest())
USUAL = dict(
    PICTURES,
    **{'val/': b'', MEMBER.path: ANNOTATIONS, 'annotations/captions.json': b'{}', '../outside.txt': b'?'},
)


def unpack(path, item, root, replace=False):
    with working_folder(root) as work:
        unpacking.unpack(path, item, root, work, replace)
        unpacking.clean(item, root)


def symlink(name, target):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, target


@pytest.fixture
def make(tmp_path):
    """Write a zip of a dict (or pairs of a name or ZipInfo and content) and return (its path, the Item)."""

    def write(content, *parts, how=zipfile.ZIP_DEFLATED, change=lambda data: data):
        path = str(tmp_path / 'data.zip')
        with warnings.catch_warnings(), zipfile.ZipFile(path, 'w', how) as file:
            warnings.simplefilter('ignore')  # about the same name twice
            for name, data in content.items() if isinstance(content, dict) else content:
                file.writestr(name, data)
        with open(path, 'rb') as file:
            data = change(file.read())
        with open(path, 'wb') as file:
            file.write(data)
        return path, Item(
            'data.zip', 'coco', len(data), hashlib.sha256(data).hexdigest(), (), parts or (FOLDER, MEMBER)
        )

    return write


def tree(root):
    return {
        os.path.relpath(os.path.join(folder, name), str(root)): open(os.path.join(folder, name), 'rb').read()
        for folder, _, names in os.walk(str(root))
        for name in names
    }


def without_record(found):
    return {name: data for name, data in found.items() if not name.startswith(WORK)}


WHOLE = dict(PICTURES, **{MEMBER.path: ANNOTATIONS})


def test_what_is_wanted_comes_out(make, tmp_path):
    path, item = make(USUAL)
    root = tmp_path / 'deep' / 'root'
    os.makedirs(str(root))
    unpack(path, item, str(root))
    assert without_record(tree(root)) == WHOLE
    assert sorted(os.listdir(str(tmp_path / 'deep'))) == ['root']
    assert [look(part, item, str(root), True)[0] for part in item.unpack] == ['right', 'right']


@pytest.mark.parametrize(
    'more',
    [
        {'val/../../outside.jpg': b'x'},
        {'val//etc.jpg': b'x'},
        {'val/sub/a.jpg': b'x'},
        {'val/..': b'x'},
        {'val/.hidden.jpg': b'x'},
        {'val/a\\b.jpg': b'x'},
        {'val/a.exe': b'x'},
        {'val/a\nb.jpg': b'x'},
    ],
    ids=str,
)
def test_names_that_lead_elsewhere(make, tmp_path, more):
    path, item = make(dict(USUAL, **more))
    with pytest.raises(FetchError) as caught:
        unpack(path, item, str(tmp_path / 'root'))
    assert 'is not one of' in str(caught.value)
    assert tree(tmp_path / 'root') == {}


def test_names_that_differ_by_case_alone(make, tmp_path):
    pictures = dict(list(PICTURES.items())[:5], **{'val/a.jpg': b'', 'val/A.jpg': b''})
    path, item = make(dict(USUAL, **pictures), FOLDER._replace(files=9))
    with pytest.raises(FetchError) as caught:
        unpack(path, item, str(tmp_path))
    assert 'case alone' in str(caught.value)


@pytest.mark.parametrize('part, name', [(FOLDER, 'val/link.jpg'), (MEMBER, MEMBER.path)])
def test_links(make, tmp_path, part, name):
    content = {key: value for key, value in USUAL.items() if key != name}
    path, item = make(list(content.items()) + [symlink(name, '/etc/passwd')], part)
    with pytest.raises(FetchError) as caught:
        unpack(path, item, str(tmp_path / 'root'))
    assert 'link' in str(caught.value)


@pytest.mark.parametrize(
    'content, part, message',
    [
        (list(USUAL.items()) + [('val/001.jpg', b'again')], FOLDER, 'twice'),
        (dict(USUAL, **{'val/more.jpg': b'x'}), FOLDER, 'holds 8 files of val, not 7'),
        ({}, FOLDER, 'holds 0 files of val, not 7'),
        ({}, MEMBER, 'holds no annotations/instances.json'),
        (dict(USUAL, **{'val/000.jpg': b'x' * 2000}), FOLDER, 'at most are expected'),
        (dict(USUAL, **{MEMBER.path: ANNOTATIONS + b' '}), MEMBER, 'bytes, not'),
        (dict(USUAL, **{MEMBER.path: ANNOTATIONS[::-1]}), MEMBER, 'another file'),
    ],
)
def test_what_the_manifest_does_not_say(make, tmp_path, content, part, message):
    path, item = make(content, part)
    with pytest.raises(FetchError) as caught:
        unpack(path, item, str(tmp_path / 'root'))
    assert message in str(caught.value)
    assert tree(tmp_path / 'root') == {}


def claim_size(name, size):
    """A change of a zip's bytes: both of its directories say that a member has another size than it unpacks
    to."""

    def change(data):
        data = bytearray(data)
        for mark, size_at, name_at in ((b'PK\x03\x04', 22, 30), (b'PK\x01\x02', 24, 46)):
            at = data.find(mark)
            while bytes(data[at + name_at : at + name_at + len(name)]) != name.encode():
                at = data.index(mark, at + 4)
            struct.pack_into('<I', data, at + size_at, size)
        return bytes(data)

    return change


@pytest.mark.parametrize('real, said', [(50 << 20, 100), (100, 1000)])
def test_a_member_that_lies_about_its_size(make, tmp_path, real, said):
    path, item = make(
        dict(USUAL, **{'val/000.jpg': b'\0' * real}),
        FOLDER._replace(bytes_at_most=10000),
        change=claim_size('val/000.jpg', said),
    )
    with pytest.raises(FetchError):
        unpack(path, item, str(tmp_path / 'root'))
    found = tree(tmp_path / 'root')
    assert without_record(found) == {}
    assert all(len(data) <= 1000 for data in found.values())  # of the bomb no more than it said


@pytest.mark.parametrize('how', [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_to_pack(make, tmp_path, how):
    path, item = make(USUAL, how=how)
    with pytest.raises(FetchError):
        unpack(path, item, str(tmp_path / 'root'))


def encrypt(data):
    """Say of every member that it is encrypted."""
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
def test_damaged_zips(make, tmp_path, change):
    path, item = make(USUAL, change=change)
    with pytest.raises(FetchError):
        unpack(path, item, str(tmp_path / 'root'))
    assert without_record(tree(tmp_path / 'root')) == {}


def test_zips_with_random_damage(make, tmp_path):
    seed = random.randrange(1 << 30)
    dice, refused = random.Random(seed), 0

    def damage(data):
        data = bytearray(data)
        for _ in range(dice.choice((1, 2, 5))):
            at = dice.randrange(len(data))
            data[at : at + dice.choice((0, 1, 1, 4))] = bytes(
                dice.randrange(256) for _ in range(dice.choice((0, 1, 1, 4)))
            )
        return bytes(data)

    for _ in range(TIMES):
        path, item = make(USUAL, change=damage)
        try:
            unpack(path, item, str(tmp_path / 'root'))
        except FetchError:
            refused += 1
        found = without_record(tree(tmp_path / 'root'))
        assert found.items() <= WHOLE.items(), seed
        assert sum(name.startswith('val') for name in found) in (0, 7), seed
        shutil.rmtree(str(tmp_path / 'root'))
    assert TIMES / 4 < refused < TIMES


def test_a_folder_that_is_damaged_is_unpacked_again(make, tmp_path):
    path, item = make(USUAL)
    root = tmp_path / 'root'
    unpack(path, item, str(root))
    picture = root / 'val' / '003.jpg'
    data = picture.read_bytes()
    picture.write_bytes(data[::-1][:-1] + b'?')  # the same size
    assert look(FOLDER, item, str(root))[0] == 'right'
    state, why = look(FOLDER, item, str(root), thorough=True)
    assert (state, why.count('1 of 7')) == ('damaged', 1)
    picture.unlink()
    state, why = look(FOLDER, item, str(root))
    assert state == 'damaged' and '003.jpg' in why
    unpack(path, item, str(root))
    assert without_record(tree(root)) == WHOLE
    assert os.listdir(str(root / WORK)) == ['val.json']


def test_what_another_archive_left_is_not_taken_for_this_one(make, tmp_path):
    path, item = make(USUAL)
    unpack(path, item, str(tmp_path / 'root'))
    assert look(FOLDER, item._replace(sha256='0' * 64), str(tmp_path / 'root'))[0] == 'unknown'


def test_a_folder_of_somebody_else(make, tmp_path):
    path, item = make(USUAL)
    root = tmp_path / 'root'
    (root / 'val').mkdir(parents=True)
    (root / 'val' / 'own.jpg').write_bytes(b'mine')
    assert look(FOLDER, item, str(root)) == ('foreign', '{} has 1 .jpg files, not 7'.format(root / 'val'))
    for index in range(6):
        (root / 'val' / f'{index}.jpg').write_bytes(b'mine')
    assert look(FOLDER, item, str(root))[0] == 'unknown'
    unpack(path, item, str(root))
    assert (root / 'val' / 'own.jpg').read_bytes() == b'mine'
    unpack(path, item, str(root), replace=True)
    assert without_record(tree(root)) == WHOLE


def test_a_folder_stays_as_it_was_when_its_zip_is_damaged(make, tmp_path):
    root = tmp_path / 'root'
    (root / 'val').mkdir(parents=True)
    (root / 'val' / 'own.jpg').write_bytes(b'mine')
    path, item = make(USUAL, change=lambda data: data[:60] + b'\xff' * 40 + data[100:])
    with pytest.raises(FetchError):
        unpack(path, item, str(root), replace=True)
    assert without_record(tree(root)) == {'val/own.jpg': b'mine'}


def killed_at(step, function, *words):
    """Call a function in a process that is killed -9 before its step-th change of the disk; whether it
    was."""
    child = os.fork()
    if child == 0:
        left = [step]

        def counted(change):
            def call(*given, **named):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                return change(*given, **named)

            return call

        try:
            for name in ('rename', 'replace', 'unlink', 'mkdir', 'rmdir', 'fsync'):
                setattr(os, name, counted(getattr(os, name)))
            builtins.open = counted(builtins.open)
            function(*words)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize('before', ['nothing', 'a damaged folder'])
def test_killed_at_every_step(make, tmp_path, before):
    path, item = make(USUAL)
    root = tmp_path / 'root'
    step = 0
    while True:
        shutil.rmtree(str(root), ignore_errors=True)
        if before != 'nothing':
            unpack(path, item, str(root))
            (root / 'val' / '003.jpg').write_bytes(b'damaged')
        step += 1
        if not killed_at(step, unpack, path, item, str(root)):
            break
        if before == 'nothing':
            assert WHOLE.items() >= without_record(tree(root)).items(), step
            assert not (root / 'val').exists() or len(os.listdir(str(root / 'val'))) == 7
        unpack(path, item, str(root))
        assert without_record(tree(root)) == WHOLE, step
        assert look(FOLDER, item, str(root), thorough=True)[0] == 'right'
        assert os.listdir(str(root / WORK)) == ['val.json'], step
    assert step > 10
    assert without_record(tree(root)) == WHOLE


def test_one_process_at_a_time(tmp_path):
    with working_folder(str(tmp_path)):
        with pytest.raises(OutputError) as caught, working_folder(str(tmp_path)):
            pass
        assert 'another process' in str(caught.value)
    with working_folder(str(tmp_path)):
        pass


def test_what_cannot_be_written(make, tmp_path):
    path, item = make(USUAL)
    (tmp_path / 'root').write_text('in the way')
    with pytest.raises(OutputError):
        unpack(path, item, str(tmp_path / 'root'))
