"""entrypoint.sh without Docker: a program in place of centernet prints its arguments."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.engine import ROOT

from centernet import cli

pytestmark = pytest.mark.skipif(
    shutil.which('bash') is None or not sys.platform.startswith('linux'),
    reason='entrypoint.sh needs bash and Linux',
)


def can_chown():
    """Whether this process may give files away: root, but not in a container without CAP_CHOWN."""
    with tempfile.NamedTemporaryFile() as file:
        try:
            os.chown(file.name, 1234, 1234)
        except PermissionError:
            return False
    return True


AS_ROOT = pytest.mark.skipif(not can_chown(), reason='only root can give folders to other users')


class Container:
    """A folder that stands in for the image's working folder, with its programs in ``bin``."""

    def __init__(self, folder):
        self.folder = folder
        self.output = folder / 'output'
        self.output.mkdir()
        (folder / 'bin').mkdir()
        (folder / 'bin' / 'python').symlink_to(sys.executable)
        self.program('centernet', 'echo "$@"; id --user; id --group; id --groups')
        shutil.copy(os.path.join(ROOT, 'entrypoint.sh'), str(folder))
        self.change('TESTS=/opt/tests/checkout', 'TESTS=checkout')
        folder.chmod(0o755)

    def program(self, name, script):
        path = self.folder / 'bin' / name
        path.write_text(f'#!/bin/bash\n{script}\n')
        path.chmod(0o755)

    def change(self, old, new):
        path = self.folder / 'entrypoint.sh'
        script = path.read_text()
        assert script.count(old) == 1
        path.write_text(script.replace(old, new))

    def start(self, *arguments, **variables):
        return subprocess.Popen(
            ['bash', 'entrypoint.sh'] + list(arguments),
            cwd=str(self.folder),
            env=dict({'PATH': f'{self.folder}/bin:/usr/bin:/bin'}, **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )

    def run(self, *arguments, **variables):
        """(exit status, lines of stdout, stderr)"""
        with self.start(*arguments, **variables) as process:
            stdout, stderr = process.communicate(timeout=60)
        return process.returncode, stdout.splitlines(), stderr


@pytest.fixture
def container():
    with tempfile.TemporaryDirectory() as folder:  # not pytest's own, which other users cannot enter
        yield Container(Path(folder))


@pytest.mark.parametrize('service', cli.COMMANDS)
def test_a_service_is_the_command_of_that_name(container, service):
    status, lines, stderr = container.run(service, '--limit', '10', '--output', 'a b')
    assert (status, lines[0], stderr) == (0, f'{service} --limit 10 --output a b', '')


def test_the_default_is_eval_pth(container):
    assert container.run()[1][0] == 'eval-pth'


def test_every_service_of_the_compose_file_is_known(container):
    with open(os.path.join(ROOT, 'docker-compose.yml'), encoding='utf-8') as file:
        services = re.findall(r'entrypoint: \[entrypoint\.sh, ([\w-]+)\]', file.read())
    assert len(services) == 14
    assert set(services) - set(cli.COMMANDS) == {'test', 'scheduler'}


def test_any_other_command(container):
    assert container.run('echo', '--output', 'a b') == (0, ['--output a b'], '')
    assert container.run('bash', '-c', 'exit 7')[0] == 7


def test_the_status_of_a_service_is_passed_on(container):
    container.program('centernet', 'echo "centernet: error" >&2; exit 2')
    assert container.run('verify') == (2, [], 'centernet: error\n')


def test_without_an_output_folder(container):
    container.output.rmdir()
    assert container.run('verify', '--help')[1][0] == 'verify --help'


@pytest.mark.parametrize('part', ['scheduler', 'worker'])
def test_a_part_of_a_cluster(container, part):
    certificates = container.folder / 'certificates'
    without = container.run(part, 'tls://scheduler:8786')
    container.program('dask', 'echo "$@"; env | grep ^DASK_ | sort; id --user')
    without_certificates = container.run(part, 'tls://scheduler:8786')
    for (status, lines, stderr), says in ((without, 'STACK=modern'), (without_certificates, 'certificates')):
        assert (status, lines) == (2, [])
        assert says in stderr and stderr.count('\n') == 1
    certificates.mkdir()
    (certificates / 'node.key').write_text('')
    status, lines, stderr = container.run(part, 'tls://scheduler:8786', '--name', 'a b')
    assert (status, stderr) == (0, '')
    tls = '--tls-ca-file certificates/ca.pem --tls-cert certificates/node.pem --tls-key certificates/node.key'
    assert lines[0].startswith(f'{part} {tls} --protocol tls --no-dashboard --dashboard-address 127.0.0.1:')
    assert ('--nworkers 1' in lines[0]) == (part == 'worker')
    assert lines[0].endswith(' tls://scheduler:8786 --name a b')
    assert 'DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=true' in lines


def test_the_tests_of_an_image_without_them(container):
    status, lines, stderr = container.run('test')
    assert (status, lines) == (2, [])
    assert 'docker compose run --rm test' in stderr and stderr.count('\n') == 1


def test_the_tests(container):
    (container.folder / 'checkout').mkdir()
    (container.folder / 'bin' / 'python').unlink()
    container.program('python', 'echo "$@"; pwd; echo "$PYTHONPATH"')
    container.output.rmdir()  # without which the owner stays
    status, lines, _ = container.run('test', '-k', 'a b')
    assert status == 0
    assert lines == [
        '-m pytest -p no:cacheprovider -k a b',
        str(container.folder / 'checkout'),
        '/opt/tests/tools',
    ]


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_service_receives_signals_itself(container, number):
    container.program(
        'centernet',
        'trap "echo ended; exit 3" TERM INT; echo $$; for _ in {1..600}; do sleep 0.1; done',
    )
    if can_chown():
        os.chown(str(container.output), 1234, 1234)
    with container.start('eval-pth') as process:
        assert int(process.stdout.readline()) == process.pid
        process.send_signal(number)
        stdout, _ = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (3, 'ended\n')


@AS_ROOT
@pytest.mark.parametrize('uid, gid', [(1234, 1234), (1234, 5678), (0, 0), (0, 1234)])
def test_root_becomes_the_owner_of_the_output_folder(container, uid, gid):
    os.chown(str(container.output), uid, gid)
    _, lines, stderr = container.run('eval-pth')
    if uid == 0:
        gid = 0
    assert lines[:3] == ['eval-pth', str(uid), str(gid)]
    assert uid == 0 or lines[3] == str(gid), 'groups of root are left'
    assert stderr == ''
    assert container.run('id', '--user')[1] == [str(uid)]


@AS_ROOT
def test_without_the_right_to_become_the_owner(container):
    os.chown(str(container.output), 1234, 5678)
    container.change('import os, sys\n', 'import os, sys\nos.setgid(99); os.setuid(99)\n')
    status, lines, stderr = container.run('eval-pth')
    assert (status, lines) == (1, [])
    assert 'uid 1234' in stderr and 'SETUID' in stderr and '--user 1234:5678' in stderr
    assert stderr.count('\n') == 1


def test_an_unknown_command(container):
    status, lines, stderr = container.run('no-such-program')
    assert (status, lines) == (127, [])
    assert 'no-such-program' in stderr and stderr.count('\n') == 1
