"""deploy/dask/certificates.sh, by openssl and by Python's ssl."""

import os
import re
import shutil
import socket
import ssl
import stat
import subprocess
import threading
import time

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = os.path.join(ROOT, 'deploy', 'dask', 'certificates.sh')
NAMES = ['ca.pem', 'node.key', 'node.pem']
DAY_S = 24 * 60 * 60

pytestmark = pytest.mark.skipif(
    shutil.which('openssl') is None or shutil.which('bash') is None, reason='openssl or bash is missing'
)


def run(*command, **variables):
    """(exit status, stdout, stderr)"""
    done = subprocess.run(
        [str(word) for word in command],
        env=dict(os.environ, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Two folders of certificates."""
    folders = [tmp_path_factory.mktemp('certificates') / name for name in ('a b', 'other')]
    for folder in folders:
        status, printed, errors = run(SCRIPT, folder)
        assert (status, errors) == (0, '')
        assert str(folder) in printed and 'valid until' in printed
    return folders


def test_the_files(made):
    folder = made[0]
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes['node.key'] == 0o600
    key = (folder / 'node.key').read_text()
    assert 'PRIVATE KEY' in key
    for name in ('ca.pem', 'node.pem'):
        text = (folder / name).read_text()
        assert text.count('BEGIN CERTIFICATE') == 1 and 'PRIVATE' not in text
    _, parameters, _ = run('openssl', 'pkey', '-in', folder / 'node.key', '-noout', '-text')
    assert 'prime256v1' in parameters


def test_the_key_of_the_ca_is_not_kept(made):
    """The only key does not belong to the CA."""
    folder = made[0]
    public = [
        run('openssl', 'x509', '-in', folder / name, '-noout', '-pubkey')[1]
        for name in ('ca.pem', 'node.pem')
    ]
    assert public[0] != public[1]
    assert run('openssl', 'pkey', '-in', folder / 'node.key', '-pubout')[1] == public[1]


def test_openssl_verifies_them_against_their_own_ca_only(made):
    folder, other = made
    for purpose in ('sslserver', 'sslclient'):
        words = ('openssl', 'verify', '-x509_strict', '-purpose', purpose, '-CAfile')
        assert run(*words, folder / 'ca.pem', folder / 'node.pem')[0] == 0
        assert run(*words, other / 'ca.pem', folder / 'node.pem')[0] != 0


def test_a_node_signs_nothing(made, tmp_path):
    folder = made[0]
    for arguments in (
        [
            'req',
            '-new',
            '-newkey',
            'rsa:2048',
            '-nodes',
            '-subj',
            '/CN=mine',
            '-keyout',
            'my.key',
            '-out',
            'my.csr',
        ],
        [
            'x509',
            '-req',
            '-in',
            'my.csr',
            '-CA',
            folder / 'node.pem',
            '-CAkey',
            folder / 'node.key',
            '-set_serial',
            1,
        ]
        + ['-out', 'my.pem'],
    ):
        words = [tmp_path / word if str(word).startswith('my.') else word for word in arguments]
        assert run('openssl', *words)[0] == 0
    words = ('openssl', 'verify', '-CAfile', folder / 'ca.pem', '-untrusted', folder / 'node.pem')
    assert run(*words, tmp_path / 'my.pem')[0] != 0


def test_they_are_valid_for_a_year(made):
    for name in ('ca.pem', 'node.pem'):
        _, printed, _ = run('openssl', 'x509', '-in', made[0] / name, '-noout', '-enddate')
        left = ssl.cert_time_to_seconds(printed.strip().partition('=')[2]) - time.time()
        assert 364 * DAY_S < left <= 365 * DAY_S


def context(folder, purpose, checks=ssl.CERT_REQUIRED):
    """As distributed makes it."""
    made = ssl.create_default_context(purpose=purpose, cafile=str(folder / 'ca.pem'))
    made.check_hostname = False
    made.verify_mode = checks
    made.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    made.load_cert_chain(str(folder / 'node.pem'), str(folder / 'node.key'))
    return made


def handshake(server, client, checks=ssl.CERT_REQUIRED):
    """What a client with the certificates of one folder hears from a server with those of another."""
    client_side = context(client, ssl.Purpose.SERVER_AUTH, checks)
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(1)

    def serve():
        connection, _ = listener.accept()
        try:
            with context(server, ssl.Purpose.CLIENT_AUTH).wrap_socket(
                connection, server_side=True
            ) as wrapped:
                wrapped.sendall(b'hello')
        except OSError:
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        connection = socket.create_connection(listener.getsockname(), timeout=20)
        with connection, client_side.wrap_socket(connection) as wrapped:
            return wrapped.recv(5)
    finally:
        thread.join(20)
        listener.close()


def test_both_sides_of_a_connection_check_the_other(made):
    folder, other = made
    assert handshake(folder, folder) == b'hello'
    with pytest.raises(ssl.SSLError):
        handshake(other, folder)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(folder, other, checks=ssl.CERT_NONE)


@pytest.mark.parametrize('name', NAMES)
def test_existing_files_are_kept(tmp_path, name):
    (tmp_path / name).write_text('mine')
    status, printed, errors = run(SCRIPT, tmp_path)
    assert (status, printed) == (2, '')
    assert str(tmp_path / name) in errors and errors.count('\n') == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == 'mine'


def test_an_existing_folder(tmp_path):
    (tmp_path / 'notes').write_text('mine')
    assert run(SCRIPT, tmp_path)[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES + ['notes']


def test_mistakes(tmp_path):
    for words in ([], ['a', 'b'], ['--help']):
        status, printed, errors = run(SCRIPT, *words)
        assert (status, printed) == (2, '') and re.match(r'usage: .*certificates\.sh <folder>\n$', errors)
    (tmp_path / 'file').write_text('')
    status, printed, errors = run(SCRIPT, tmp_path / 'file')
    assert status == 1 and printed == '' and errors.count('\n') == 1


def test_openssl_fails_or_is_missing(tmp_path):
    programs = tmp_path / 'bin'
    programs.mkdir()
    for name in ('bash', 'mkdir', 'rm', 'cat', 'tail'):
        (programs / name).symlink_to(shutil.which(name))
    status, _, errors = run(shutil.which('bash'), SCRIPT, tmp_path / 'out', PATH=str(programs))
    assert status == 1 and 'install' in errors and errors.count('\n') == 1
    (programs / 'openssl').write_text('#!/bin/bash\necho "no entropy" >&2; exit 1\n')
    (programs / 'openssl').chmod(0o755)
    status, _, errors = run(shutil.which('bash'), SCRIPT, tmp_path / 'out', PATH=str(programs))
    assert (status, errors) == (1, 'certificates: error: openssl ecparam: no entropy\n')
    assert list((tmp_path / 'out').iterdir()) == []
