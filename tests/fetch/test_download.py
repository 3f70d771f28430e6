"""Downloads from a real server that fails in every way it can."""

import logging
import os
import shutil
import subprocess

import pytest
from support.downloads import CONTENT, get, refused
from support.file_server import (
    chunked,
    drop,
    gzipped_if_allowed,
    page,
    redirect,
    running,
    serve,
    stall,
    stall_before_the_answer,
    status,
    with_headers,
    without_ranges,
)

from centernet.fetch.download import download
from centernet.system.errors import OutputError


def called(value):
    """The name of a parameter in a test's name."""
    if isinstance(value, list):
        return '-'.join(map(called, value))
    return getattr(value, '__name__', str(value))


def write_part(path, content):
    with open(path + '.part', 'wb') as file:
        file.write(content)


def requested(server, path='/a'):
    """What was requested: all of the file, or the rest of it. How much of the last block survives when a
    connection breaks depends on the version of urllib3."""
    return ['all' if given is None else 'rest' for given in server.ranges(path)]


def test_download(server, served, path):
    assert get(served(CONTENT, 'a'), path) == server.address + '/a'
    assert requested(server) == ['all']


def test_the_rest_of_a_file_is_requested(server, served, path):
    file = served(CONTENT, 'a')
    write_part(path, CONTENT[:123456])
    get(file, path)
    assert server.ranges('/a') == ['bytes=123456-']


def test_a_complete_part_needs_no_server(server, served, path):
    write_part(path, CONTENT)
    get(served(CONTENT, 'a'), path)
    assert server.requests == []


@pytest.mark.parametrize(
    'part', [b'x' * 1000, b'x' * len(CONTENT), b'x' * (len(CONTENT) + 1)], ids=['short', 'full', 'long']
)
def test_a_part_of_another_file_is_discarded(server, served, path, part):
    write_part(path, part)
    get(served(CONTENT, 'a'), path)
    assert requested(server)[-1] == 'all'


@pytest.mark.parametrize(
    'faults, expected',
    [
        ([drop(100000)], ['all', 'rest']),
        ([drop(0), drop(0)], ['all'] * 3),
        ([drop(100000), without_ranges], ['all', 'rest']),
        ([drop(100000), status(416)], ['all', 'rest', 'all']),
        ([drop(100000), with_headers(Content_Range='bytes 7-300000/300001')], ['all', 'rest', 'all']),
        ([drop(100000), with_headers(Content_Range=None)], ['all', 'rest', 'all']),
        ([drop(100000), stall(70000)], ['all', 'rest', 'rest']),
        ([stall(131072)], ['all', 'rest']),
        ([stall_before_the_answer], ['all', 'all']),
        ([chunked], ['all']),
        ([gzipped_if_allowed], ['all']),
        ([status(500), status(502)], ['all'] * 3),
        ([status(503), status(408)], ['all'] * 3),
        ([status(429)], ['all'] * 2),
        ([with_headers(Content_Length=None)], ['all']),
    ],
    ids=called,
)
def test_temporary_failures_are_retried(server, served, path, faults, expected):
    file = served(CONTENT, 'a')
    server.faults['/a'] = list(faults)
    get(file, path)
    assert server.faults['/a'] == []
    assert requested(server) == expected


QUOTA_PAGE = '<html><head><title>Google Drive - Quota exceeded</title></head><body><p>Sorry</p></body></html>'


@pytest.mark.parametrize(
    'fault, message',
    [
        (status(403), 'HTTP 403'),
        (status(404), 'HTTP 404'),
        (status(410), 'HTTP 410'),
        (status(407), 'HTTP 407'),
        (status(204), 'HTTP 204'),
        (page('<html><title>No such page</title></html>', 404), 'HTTP 404'),
        (page(QUOTA_PAGE), 'quota'),
        (with_headers(Content_Length=300000), '300000 bytes, expected 300001'),
        (with_headers(Content_Length=300002), '300002 bytes, expected 300001'),
        (redirect('ftp://files.example/a'), 'ftp'),
        (lambda handler, content: serve(handler, b'x' * len(content)), 'SHA-256'),
    ],
    ids=called,
)
def test_the_next_mirror_is_tried(server, served, path, fault, message, caplog):
    caplog.set_level(logging.INFO)
    file = served(CONTENT, 'a', 'b')
    server.faults['/a'] = [fault]
    assert get(file, path) == server.address + '/b'
    assert requested(server) == ['all']  # not twice
    assert message in caplog.text
    assert server.address + '/a' in caplog.text


def test_a_file_of_another_size_at_the_server(server, served, path):
    file = served(CONTENT, 'a', 'b')
    server.files['/a'] = CONTENT + b'more'
    write_part(path, CONTENT[:1000])
    assert get(file, path) == server.address + '/b'
    assert server.ranges('/b') == ['bytes=1000-']


def test_a_web_page_does_not_replace_what_is_there(server, served, path):
    file = served(CONTENT, 'a')
    write_part(path, CONTENT[:1000])
    server.faults['/a'] = [page(QUOTA_PAGE)]
    assert 'web page' in refused(file, path)
    assert os.path.getsize(path + '.part') == 1000


def test_every_mirror_fails(server, served, path):
    file = served(CONTENT, 'a', 'b')
    server.faults['/a'] = [status(403)]
    server.faults['/b'] = [drop(200000)] + [status(500)] * 3
    message = refused(file, path)
    assert f'{server.address}/a: HTTP 403' in message
    assert f'{server.address}/b: HTTP 500' in message
    assert os.path.getsize(path + '.part') > 100000
    get(file, path)
    assert requested(server, '/a')[-1] == 'rest'


def test_a_missing_file_leaves_nothing(server, served, path, tmp_path):
    refused(served(CONTENT)._replace(urls=(server.address + '/nowhere',)), path)
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.parametrize('url', ['http://127.0.0.1:9/a', 'http://nowhere.invalid/a', 'http://[::1/a'])
def test_no_server(served, path, url):
    message = refused(served(CONTENT)._replace(urls=(url,)), path)
    assert url in message and len(message) < 200


def test_a_server_that_always_stalls(server, served, path):
    file = served(CONTENT, 'a')
    server.faults['/a'] = [stall_before_the_answer] * 3
    assert 'no data for 0.5 s' in refused(file, path)
    server.faults['/a'] = [stall(10)] * 3
    assert 'no data for 0.5 s (3 attempts)' in refused(file, path)


def test_only_progress_is_retried_without_end(server, served, path, monkeypatch):
    file = served(CONTENT, 'a')
    monkeypatch.setattr('centernet.fetch.download.PROGRESS', 50000)
    server.faults['/a'] = [drop(66000)] * 4
    get(file, path)
    assert server.faults['/a'] == []
    os.unlink(path)
    server.faults['/a'] = [drop(1)] * 25
    assert '(3 attempts)' in refused(file, path)


def test_a_full_disk(served, path):
    os.symlink('/dev/full', path + '.part')
    with pytest.raises(OutputError) as caught:
        download(served(CONTENT, 'a'), path, 1, 2, progress=False)
    assert 'No space left' in str(caught.value)
    assert not os.path.exists(path)


# Redirects, proxies and TLS


def test_redirect(server, served, path):
    file = served(CONTENT, 'a')
    server.faults['/moved'] = [redirect('/a')]
    assert get(file._replace(urls=(server.address + '/moved',)), path) == server.address + '/moved'


def test_redirect_loop(server, served, path):
    server.faults['/a'] = [redirect('/a')] * 40
    assert 'redirects' in refused(served(CONTENT, 'a'), path)


def test_proxy(server, served, path, monkeypatch):
    file = served(CONTENT)._replace(urls=('http://files.invalid/some/file',))
    server.files['/some/file'] = CONTENT
    monkeypatch.setenv('http_proxy', server.address)
    get(file, path)
    assert server.requests[0][2] == 'http://files.invalid/some/file'
    os.unlink(path)
    monkeypatch.setenv('no_proxy', 'files.invalid')
    refused(file, path)
    assert len(server.requests) == 1


def test_a_proxy_that_rejects_https(server, served, path, monkeypatch):
    monkeypatch.setenv('https_proxy', server.address)
    message = refused(served(CONTENT)._replace(urls=('https://files.invalid/file',)), path)
    assert 'proxy' in message and '501' in message  # this server does not know CONNECT


def test_passwords_are_not_shown(served, path, caplog):
    caplog.set_level(logging.INFO)
    message = refused(served(CONTENT)._replace(urls=('http://me:secret@127.0.0.1:9/a',)), path)
    assert 'http://127.0.0.1:9/a' in message
    assert 'secret' not in message + caplog.text


@pytest.fixture
def certificate(tmp_path_factory):
    """A folder with a key and a self-signed certificate for 127.0.0.1."""
    if not shutil.which('openssl'):
        pytest.skip('needs openssl, which makes the certificate')
    folder = tmp_path_factory.mktemp('certificate')
    (folder / 'settings').write_text(
        '[req]\ndistinguished_name=name\nx509_extensions=more\n[name]\n[more]\n'
        'subjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:true\n'
    )
    command = 'openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -config settings'
    subprocess.check_call(
        command.split() + ['-keyout', 'key', '-out', 'certificate'],
        cwd=str(folder),
        stderr=subprocess.DEVNULL,
    )
    (folder / 'both').write_text((folder / 'key').read_text() + (folder / 'certificate').read_text())
    return folder


def test_https(certificate, served, path, monkeypatch):
    with running(str(certificate / 'both')) as server:
        server.files['/a'] = CONTENT
        file = served(CONTENT)._replace(urls=(server.address + '/a',))
        assert 'REQUESTS_CA_BUNDLE' in refused(file, path)
        monkeypatch.setenv('REQUESTS_CA_BUNDLE', str(certificate / 'certificate'))
        server.faults['/a'] = [drop(131072), stall(70000)]
        get(file, path)
        assert requested(server) == ['all', 'rest', 'rest']
