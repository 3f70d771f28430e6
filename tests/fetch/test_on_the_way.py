"""What may stand between us and the file: Google Drive's pages, proxies, TLS."""

import logging
import os
import shutil
import subprocess

import pytest
from support.downloads import CONTENT, QUOTA_PAGE, get, refused
from support.file_server import drip, drop, page, running, stall, status

DRIVE_PAGE = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>
<form id="download-form" action="{}" method="get"><input type="submit" value="Download anyway"/>
<input type="hidden" name="id" value="18Q3"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="a-b&amp;c"></form></body></html>"""


@pytest.fixture
def certificate(tmp_path_factory):
    """A key and a certificate for 127.0.0.1 that nobody has signed."""
    if not shutil.which('openssl'):
        pytest.skip('openssl is not installed, and makes the certificate')
    folder = tmp_path_factory.mktemp('certificate')
    (folder / 'settings').write_text(
        '[req]\ndistinguished_name=name\nx509_extensions=more\n[name]\n[more]\n'
        'subjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:true\n'
    )
    subprocess.check_call(
        [
            'openssl',
            'req',
            '-x509',
            '-newkey',
            'rsa:2048',
            '-nodes',
            '-days',
            '2',
            '-subj',
            '/CN=test',
            '-config',
            str(folder / 'settings'),
            '-keyout',
            str(folder / 'key'),
            '-out',
            str(folder / 'certificate'),
        ],
        stderr=subprocess.DEVNULL,
    )
    (folder / 'both').write_text((folder / 'key').read_text() + (folder / 'certificate').read_text())
    return folder


def test_https(certificate, served, path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    with running(str(certificate / 'both')) as server:
        server.files['/a'] = CONTENT
        item = served(CONTENT)._replace(mirrors=(server.address + '/a',))
        assert 'REQUESTS_CA_BUNDLE' in refused(item, path)
        monkeypatch.setenv('REQUESTS_CA_BUNDLE', str(certificate / 'certificate'))
        server.faults['/a'] = [drop(98304), stall(65536), drip]
        get(item, path)
        assert server.ranges('/a')[:2] == [None, 'bytes=98304-'] and len(server.requests) == 4
        assert 'it stalls' in caplog.text


def test_google_asks_whether_one_is_sure(server, served, path):
    item = served(CONTENT, 'uc')
    server.files['/download'] = CONTENT
    server.faults['/uc'] = [page(DRIVE_PAGE.format('/download?authuser=0'))] * 2
    server.faults['/download'] = [drop(1000)]
    get(item, path)
    assert [given for _, given, _ in server.requests] == [None, None, 'bytes=1000-', 'bytes=1000-']
    assert server.requests[-1][2] == '/download?authuser=0&id=18Q3&export=download&confirm=t&uuid=a-b%26c'


def test_the_link_of_google_s_older_page(server, served, path):
    item = served(CONTENT, 'uc')
    server.files['/uc2'] = CONTENT
    server.faults['/uc'] = [
        page(
            '<html><a href="/help">?</a>'
            '<a id="uc-download-link" href="/uc2?export=download&amp;confirm=4kZ&amp;id=1">'
        )
    ]
    get(item, path)
    assert server.requests[-1][2] == '/uc2?export=download&confirm=4kZ&id=1'


@pytest.mark.parametrize(
    'second', [page(QUOTA_PAGE), page(DRIVE_PAGE.format('/uc'))], ids=['quota', 'the same again']
)
def test_a_second_page_is_not_followed(server, served, path, second):
    item = served(CONTENT, 'uc')
    server.faults['/uc'] = [page(DRIVE_PAGE.format('/uc')), second, status(500)]
    assert 'Google Drive' in refused(item, path)
    assert len(server.requests) == 2


def test_a_form_that_leads_to_another_site_is_not_followed(server, served, path):
    item = served(CONTENT, 'uc')
    server.faults['/uc'] = [page(DRIVE_PAGE.format(f'http://localhost:{server.server_address[1]}/download'))]
    assert 'Virus scan warning' in refused(item, path)


def test_a_proxy_is_used(server, served, path, monkeypatch):
    item = served(CONTENT)._replace(mirrors=('http://files.invalid/some/file',))
    server.files['/some/file'] = CONTENT
    monkeypatch.setenv('HTTP_PROXY', server.address)
    monkeypatch.setenv('http_proxy', server.address)
    get(item, path)
    assert server.requests[0][2] == 'http://files.invalid/some/file'
    os.unlink(path)
    monkeypatch.setenv('NO_PROXY', 'files.invalid')
    monkeypatch.setenv('no_proxy', 'files.invalid')
    refused(item, path)
    assert len(server.requests) == 1


def test_a_proxy_that_refuses_https(server, served, path, monkeypatch):
    monkeypatch.setenv('HTTPS_PROXY', server.address)
    monkeypatch.setenv('https_proxy', server.address)
    message = refused(served(CONTENT)._replace(mirrors=('https://files.invalid/file',)), path)
    assert 'the proxy cannot be used' in message and '501' in message  # this server knows no CONNECT


def test_passwords_are_not_shown(served, path, caplog):
    caplog.set_level(logging.INFO)
    message = refused(served(CONTENT)._replace(mirrors=('http://me:secret@127.0.0.1:9/a',)), path)
    assert 'http://127.0.0.1:9/a' in message
    assert 'secret' not in message + caplog.text
