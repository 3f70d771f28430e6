"""Downloads from a real server that fails in every way it can."""

import logging
import os
import random
import shutil
import time
from types import SimpleNamespace

import pytest
from support.downloads import CONTENT, QUICK, QUOTA_PAGE, get, refused
from support.file_server import (
    chunked,
    drip,
    drop,
    gzipped,
    gzipped_if_allowed,
    page,
    redirect,
    serve,
    stall,
    stall_before_the_answer,
    status,
    with_headers,
    without_ranges,
)

from centernet.errors import OutputError
from centernet.fetch import Policy
from centernet.fetch.download import download


def called(value):
    """What a parameter is called in a test's name."""
    if isinstance(value, list):
        return '-'.join(map(called, value))
    return getattr(value, '__name__', str(value))


def write_part(path, content):
    with open(path + '.part', 'wb') as file:
        file.write(content)


def test_a_file(server, served, path):
    item = served(CONTENT, 'a')
    assert get(item, path) == server.address + '/a'
    assert server.ranges('/a') == [None]
    assert os.stat(path).st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_rest_of_a_file(server, served, path):
    item = served(CONTENT, 'a')
    write_part(path, CONTENT[:123456])
    get(item, path)
    assert server.ranges('/a') == ['bytes=123456-']


def test_a_part_that_is_whole_needs_no_server(server, served, path):
    item = served(CONTENT, 'a')
    write_part(path, CONTENT)
    assert get(item, path) == path + '.part'
    assert server.requests == []


@pytest.mark.parametrize(
    'part', [b'x' * 1000, b'x' * len(CONTENT), b'x' * (len(CONTENT) + 1)], ids=['short', 'full', 'long']
)
def test_a_part_of_another_file_is_thrown_away(server, served, path, part):
    item = served(CONTENT, 'a')
    write_part(path, part)
    get(item, path)
    assert server.ranges('/a')[-1] is None


@pytest.mark.parametrize(
    'faults, ranges',
    [
        ([drop(100000)], [None, 'bytes=100000-']),
        ([drop(0), drop(0)], [None] * 3),
        ([drop(100000), without_ranges], [None, 'bytes=100000-']),
        ([drop(100000), status(416, Content_Range='bytes */300001')], [None, 'bytes=100000-', None]),
        ([drop(100000), status(416)], [None, 'bytes=100000-', None]),
        ([drop(100000), with_headers(Content_Range='bytes 7-300000/300001')], [None, 'bytes=100000-', None]),
        ([drop(100000), with_headers(Content_Range=None)], [None, 'bytes=100000-', None]),
        (
            [drop(100000), drop(100000), stall(49152)],
            [None, 'bytes=100000-', 'bytes=200000-', 'bytes=249152-'],
        ),
        ([stall(65536)], [None, 'bytes=65536-']),
        ([stall_before_the_answer], [None, None]),
        ([chunked], [None]),
        ([gzipped_if_allowed], [None]),
        ([status(500), status(502)], [None] * 3),
        ([status(503), status(408)], [None] * 3),
        ([status(429)], [None, None]),
        ([with_headers(Content_Length=None)], [None]),
        ([with_headers(Content_Length='\xb2')], [None]),
        ([with_headers(Content_Length='9' * 5000)], [None]),
        (
            [drop(100000), with_headers(Content_Range='bytes {0}-{0}/{0}'.format('9' * 5000))],
            [None, 'bytes=100000-', None],
        ),
    ],
    ids=called,
)
def test_what_passes_is_tried_again(server, served, path, faults, ranges):
    item = served(CONTENT, 'a')
    server.faults['/a'] = list(faults)
    get(item, path)
    assert server.faults['/a'] == []
    assert server.ranges('/a') == ranges


def test_a_drip_is_a_stall(server, served, path, caplog):
    caplog.set_level(logging.INFO)
    item = served(CONTENT, 'a')
    server.faults['/a'] = [drip]
    get(item, path)
    assert 'it stalls: less than 16384 bytes in 0.5 seconds' in caplog.text


@pytest.mark.parametrize(
    'fault, message',
    [
        (status(403), '(403)'),
        (status(404), '(404)'),
        (status(410), '(410)'),
        (status(401), 'name and a password'),
        (status(418), '418'),
        (status(407), 'HTTPS_PROXY'),
        (page('<html><title>No\n such page</title></html>', 404), '(404)'),
        (page('<html><head><title>Please log in</title></head></html>'), "titled 'Please log in'"),
        (status(200, '  <!DOCTYPE html><p>no title'), 'a web page in place'),
        (page(QUOTA_PAGE), 'quota of downloads'),
        (page(QUOTA_PAGE, 403), 'quota of downloads'),
        (page(QUOTA_PAGE, 429), 'quota of downloads'),
        (page('<html><a href="https://accounts.google.com/ServiceLogin">Sign in</a>'), 'sign in'),
        (with_headers(Content_Length=300000), 'has 300000 bytes, not 300001'),
        (with_headers(Content_Length=300002), 'has 300002 bytes, not 300001'),
        (with_headers(Content_Length='9' * 17), 'has 99999999999999999 bytes'),
        (gzipped, 'encoded (gzip)'),
        (status(204), '204'),
        (redirect('ftp://files.example/a'), 'astray'),
        (lambda handler, content: serve(handler, b'x' * len(content)), 'not the right content'),
    ],
    ids=called,
)
def test_a_mirror_that_has_it_not_is_left_for_the_next(server, served, path, fault, message, caplog):
    caplog.set_level(logging.INFO)
    item = served(CONTENT, 'a', 'b')
    server.faults['/a'] = [fault]
    assert get(item, path) == server.address + '/b'
    assert server.ranges('/a') == [None]  # not asked twice
    assert message in caplog.text
    assert server.address + '/a' in caplog.text


def test_a_size_that_a_range_tells(server, served, path):
    item = served(CONTENT, 'a', 'b')
    server.files['/a'] = CONTENT + b'more'
    write_part(path, CONTENT[:1000])
    assert get(item, path) == server.address + '/b'
    server.files['/a'] = CONTENT[:500]  # shorter than what is here: 416
    os.unlink(path)
    write_part(path, CONTENT[:1000])
    assert get(item, path) == server.address + '/b'
    assert server.ranges('/a') == ['bytes=1000-'] * 2


def test_no_mirror_has_it(server, served, path):
    item = served(CONTENT, 'a', 'b')
    server.faults['/a'] = [status(403)]
    server.faults['/b'] = [drop(1000)] + [status(500)] * 3
    message = refused(item, path)
    assert f'{server.address}/a: it refuses the file (403)' in message
    assert f'{server.address}/b: it answers 500 (3 attempts)' in message
    assert path in message
    assert os.path.getsize(path + '.part') == 1000  # the next call goes on
    get(item, path)


def test_nothing_at_all_leaves_nothing(server, served, path, tmp_path):
    refused(served(CONTENT, 'a')._replace(mirrors=(server.address + '/nowhere',)), path)
    assert os.listdir(str(tmp_path)) == []


def test_no_server_is_there(served, path):
    assert 'the connection failed' in refused(
        served(CONTENT)._replace(mirrors=('http://127.0.0.1:9/a',)), path
    )
    assert 'the connection failed' in refused(
        served(CONTENT)._replace(mirrors=('http://nowhere.invalid/a',)), path
    )


def test_a_server_that_sends_no_end(server, served, path):
    item = served(CONTENT, 'a')
    server.faults['/a'] = [
        lambda handler, content: serve(handler, content + b'x' * 100000, Content_Length=None)
    ]
    get(item, path)


def test_progress_counts_and_a_little_is_none(server, served, path):
    item = served(CONTENT, 'a')
    server.faults['/a'] = [drop(10000)] * 25
    get(item, path)
    os.unlink(path)
    server.faults['/a'] = [drop(1)] * 25
    assert 'the connection ended after 3 of 300001 bytes (3 attempts)' in refused(item, path)


@pytest.mark.parametrize(
    'given, waits',
    [
        ('0', True),
        ('Wed, 21 Oct 2015 07:28:00 GMT', True),
        ('7', False),
        ('Wed, 21 Oct 2099 07:28:00 GMT', False),
        ('soon', True),
        ('Wed, 21 Oct 99999999999 07:28:00 GMT', True),
        ('\xb2', True),
        ('', True),
    ],
)
def test_retry_after(server, served, path, given, waits):
    item = served(CONTENT, 'a', 'b')
    server.faults['/a'] = [status(429, Retry_After=given)]
    source = get(item, path, QUICK._replace(longest_retry_after=5))
    assert source == server.address + ('/a' if waits else '/b')


def test_retry_after_is_waited_for(server, served, path, monkeypatch):
    waited = []
    monkeypatch.setattr('centernet.fetch.download.time', SimpleNamespace(sleep=waited.append))
    item = served(CONTENT, 'a')
    server.faults['/a'] = [status(503, Retry_After='10'), status(500), status(500)]
    download(item, path, Policy(first_wait=4, longest_wait=6), progress=False)
    assert waited[0] == 10
    assert (
        4.5 <= waited[1] <= 7.5 and 4.5 <= waited[2] <= 7.5
    )  # 8 and 16 seconds are longer than the longest, which varies by a quarter


def test_two_at_once(server, served, path):
    item = served(CONTENT, 'a')
    server.faults['/a'] = [stall(1000)]
    # A lock belongs to a process, so the other one has to be a process.
    child = os.fork()
    if child == 0:
        try:
            download(item, path, QUICK._replace(timeout=30), progress=False)
        finally:
            os._exit(0)
    try:
        while not server.requests:
            assert os.waitpid(child, os.WNOHANG) == (0, 0)
        with pytest.raises(OutputError) as caught:
            download(item, path, QUICK, progress=False)
        assert 'another process' in str(caught.value)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    get(item, path)


def test_fifty_interruptions(server, served, path):
    item = served(CONTENT, 'a')
    seed = random.randrange(1 << 30)
    points = random.Random(seed)
    server.faults['/a'] = [drop(points.randrange(3300, 7500)) for _ in range(50)]
    get(item, path)
    assert server.faults['/a'] == [], seed


def test_a_folder_that_vanishes(served, server, tmp_path):
    folder = tmp_path / 'models'
    folder.mkdir()

    def send(handler, body):
        handler.wfile.write(body[:200000])
        while not list(folder.iterdir()):
            time.sleep(0.01)
        shutil.rmtree(str(folder))
        handler.wfile.write(body[200000:])

    item = served(CONTENT, 'a')
    server.faults['/a'] = [lambda handler, content: serve(handler, content, send=send)]
    with pytest.raises(OutputError) as caught:
        download(item, str(folder / 'file.bin'), QUICK, progress=False)
    assert 'No such file' in str(caught.value)
    assert not folder.exists()


def test_a_disk_that_is_full(served, server, path):
    with pytest.raises(OutputError) as caught:
        os.symlink('/dev/full', path + '.part')
        download(served(CONTENT, 'a'), path, QUICK, progress=False)
    assert 'No space left' in str(caught.value)
    assert not os.path.exists(path)
