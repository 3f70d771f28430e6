"""The scripts in standin/ with fake programs: when they wait, fail, or report that there can be no engine."""

import os
import shutil
import subprocess
import sys

import pytest
from support.engine import NO_ENGINE, ROOT

FOLDER = os.path.join(ROOT, 'tests', 'container', 'standin')
TOOLS = ('bash', 'cat', 'dirname', 'grep', 'mkdir', 'rm', 'seq', 'setsid', 'sleep', 'tail')
#: what apt-get prints when another program holds a lock
LOCKED = 'E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 4711 (unattended-upgr)'

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith('linux') or None in map(shutil.which, TOOLS),
    reason='the scripts need Linux and {}'.format(', '.join(TOOLS)),
)


class Machine:
    """A PATH with only the programs that the scripts need, and fake ones."""

    def __init__(self, folder):
        self.folder = folder
        self.calls = folder / 'calls'
        (folder / 'bin').mkdir()
        for tool in TOOLS:
            (folder / 'bin' / tool).symlink_to(shutil.which(tool))
        self.program('id', 'echo 0')
        self.program('docker', 'exit 1')

    def program(self, name, script):
        path = self.folder / 'bin' / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >>{self.calls}\n{script}\n')
        path.chmod(0o755)

    def run(self, *command, seconds=30):
        """(exit status, stderr, the calls of the fake programs but id)"""
        run = subprocess.run(
            ['bash'] + list(command),
            env={'PATH': str(self.folder / 'bin'), 'APT_LOCK_SECONDS': str(seconds)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            timeout=60,
        )
        calls = self.calls.read_text().splitlines() if self.calls.exists() else []
        assert run.stdout == ''
        return run.returncode, run.stderr, [call for call in calls if not call.startswith('id ')]

    def install(self, **options):
        return self.run('-c', f'. {FOLDER}/apt.sh; apt_install docker.io', **options)

    def start(self, **options):
        return self.run(os.path.join(FOLDER, 'engine.sh'), 'start', str(self.folder / 'engine'), **options)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


INSTALLED = ['apt-get -qq update', 'apt-get -qq install --no-install-recommends docker.io']


def test_packages_are_installed(machine):
    machine.program('apt-get', 'echo "Setting up $3"')
    assert machine.install() == (0, '', INSTALLED)


@pytest.mark.parametrize('step', [0, 1])
def test_a_lock_held_for_a_moment_is_waited_for(machine, step):
    command = INSTALLED[step].split()[2]
    first = f'[ "$2" = {command} ] && [ "$(grep -c "qq {command}" {machine.calls})" = 1 ]'
    machine.program('apt-get', f'if {first}; then echo "{LOCKED}" >&2; exit 100; fi')
    assert machine.install() == (0, '', INSTALLED[:step] + [INSTALLED[step]] * 2 + INSTALLED[step + 1 :])


def test_a_lock_that_stays_is_a_failure(machine):
    machine.program('apt-get', f'echo "{LOCKED}" >&2; exit 100')
    status, stderr, calls = machine.install(seconds=1)
    assert (status, stderr) == (1, LOCKED + '\n')
    assert len(calls) > 1 and set(calls) == {INSTALLED[0]}
    status, stderr, _ = machine.start(seconds=1)
    assert status == 1 and LOCKED in stderr and 'docker.io cannot be installed' in stderr


def test_any_other_error_of_apt_is_a_failure_at_once(machine):
    machine.program('apt-get', 'echo "E: Unable to locate package" >&2; exit 100')
    status, stderr, calls = machine.install()
    assert (status, stderr, calls) == (1, 'E: Unable to locate package\n', INSTALLED[:1])


def test_no_engine_without_root(machine):
    machine.program('id', 'echo 1000')
    status, stderr, calls = machine.start()
    assert (status, calls) == (NO_ENGINE, []) and 'root' in stderr


def test_no_engine_without_apt(machine):
    status, stderr, calls = machine.start()
    assert (status, calls) == (NO_ENGINE, []) and 'apt-get' in stderr


@pytest.mark.parametrize(
    'message, status',
    [
        ('failed to start daemon: error initializing graphdriver: operation not permitted', NO_ENGINE),
        ('failed to start daemon: Devices cgroup is not mounted', NO_ENGINE),
        ('failed to start daemon: iptables v1.8.9: Permission denied (you must be root)', NO_ENGINE),
        ('failed to start daemon: pid file found, ensure docker is not running', 1),
        ('panic: runtime error: invalid memory address', 1),
    ],
)
def test_an_engine_that_does_not_start(machine, message, status):
    machine.program('dockerd', f'echo "{message}" >&2; exit 1')
    found, stderr, calls = machine.start()
    assert found == status and message in stderr
    assert not [call for call in calls if call.startswith('apt-get')]


def test_usage(machine):
    assert machine.run(os.path.join(FOLDER, 'engine.sh'), 'begin', 'x')[0] == 2
