"""The services under rootless podman, with podman-compose and by the plain command in docs/container.md.

An ordinary user, made for these tests, runs the images that Docker has built. It gets a home folder of its
own with all that podman keeps, and a copy of what the compose files need.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.engine import CUDA, ROOT, STACK, call, show

PODMAN_COMPOSE = 'podman-compose==1.6.0'
#: an interpreter that another user may run: that of the tests may be in root's home folder
PYTHON = '/usr/bin/python3'
PROGRAMS = ('podman', 'runc', 'newuidmap', 'slirp4netns', 'setpriv', 'unshare', 'useradd', 'userdel', PYTHON)
MISSING = [name for name in PROGRAMS if shutil.which(name, path='/usr/sbin:/usr/bin:/sbin:/bin') is None]

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason='only root can add the user that runs podman'),
    pytest.mark.skipif(
        bool(MISSING), reason='missing: {}; install podman and what it recommends'.format(', '.join(MISSING))
    ),
]

# crun, which podman prefers, refuses machines that have both versions of cgroups
CONTAINERS = '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
STORAGE = '[storage]\ndriver = "overlay"\n'
# Where others may not open the machine's /dev/net/tun, which slirp4netns needs, the user sees one of its own.
ENTER = r"""
if ! [ -e "$1" ] || mount --bind "$1" /dev/net/tun; then
    cd "$2" && exec setpriv --reuid "$3" --regid "$3" --init-groups env -i "${@:4}"
fi"""


class User:
    """A user with a checkout, podman and podman-compose; removed with ``remove()``."""

    def __init__(self):
        self.name = f'centernet{os.getpid()}'
        self.folder = Path(tempfile.mkdtemp(prefix='centernet-podman-'))  # others cannot enter pytest's
        self.home, self.checkout = self.folder / 'home', self.folder / 'home' / 'checkout'
        self.folder.chmod(0o755)
        try:
            self.create()
        except BaseException:
            self.remove()
            raise

    def create(self):
        call(['useradd', '--create-home', '--home-dir', str(self.home), self.name])
        self.checkout.mkdir()
        for name in ('docker-compose.yml', 'Dockerfile'):
            shutil.copy(os.path.join(ROOT, name), str(self.checkout))
        shutil.copytree(
            os.path.join(ROOT, 'docker'), str(self.checkout / 'docker'), ignore=lambda *_: ['wheels']
        )
        for name in ('data', 'input', 'models', 'output', '../run', '../tmp', '../.config/containers'):
            (self.checkout / name).mkdir(parents=True)
        (self.home / '.config' / 'containers' / 'containers.conf').write_text(CONTAINERS)
        (self.home / '.config' / 'containers' / 'storage.conf').write_text(STORAGE)
        packages = str(self.home / 'packages')
        call([sys.executable, '-m', 'pip', 'install', '--quiet', '--target', packages, PODMAN_COMPOSE])
        call(['chown', '--recursive', self.name + ':', str(self.home)])
        self.uid = self.home.stat().st_uid
        if os.path.exists('/dev/net/tun') and os.stat('/dev/net/tun').st_mode & 0o006 != 0o006:
            os.mknod(str(self.folder / 'tun'), 0o20666, os.stat('/dev/net/tun').st_rdev)
            (self.folder / 'tun').chmod(0o666)

    def run(self, *command, check=True, **variables):
        """Run a program as this user, in the checkout."""
        environment = dict(
            HOME=str(self.home),
            USER=self.name,
            PATH='/usr/sbin:/usr/bin:/sbin:/bin',
            XDG_RUNTIME_DIR=str(self.home / 'run'),
            TMPDIR=str(self.home / 'tmp'),
            PYTHONPATH=str(self.home / 'packages'),
            PYTHONDONTWRITEBYTECODE='1',
            **variables,
        )
        words = [f'{name}={value}' for name, value in environment.items()] + list(command)
        enter = ['bash', '-c', ENTER, 'enter', str(self.folder / 'tun'), str(self.checkout), self.name]
        show('as {}: {}'.format(self.name, ' '.join(command)))
        return call(
            ['unshare', '--mount', '--propagation', 'shared', *enter, *words], check=check, quiet=True
        )

    def compose(self, *arguments, **options):
        return self.run(PYTHON, '-m', 'podman_compose', *arguments, **options)

    def load(self, settings, images):
        """Give the user images of Docker's."""
        path = str(self.home / 'images.tar')
        call(['docker', 'save', '--output', path, *images], environment=settings)
        os.chmod(path, 0o644)
        self.run('podman', 'load', '--quiet', '--input', path)
        os.remove(path)

    def remove(self):
        # podman's one process that stays, which holds the user namespace
        for pause in self.home.glob('run/libpod/tmp/pause.pid'):
            os.kill(int(pause.read_text()), signal.SIGKILL)
        shutil.rmtree(str(self.folder))
        subprocess.run(['userdel', self.name], stderr=subprocess.DEVNULL)


@pytest.fixture(scope='module')
def user(settings, images):
    user = User()
    try:
        user.load(settings, images)
        yield user
    finally:
        user.remove()


def foreign_files(user):
    """The files in the mounted folders that belong to somebody else."""
    paths = [path for name in ('data', 'models', 'output') for path in [*(user.checkout / name).glob('**/*')]]
    return [path for path in paths if path.stat().st_uid != user.uid]


SERVICES = [
    ('doctor', [], 0, None),
    ('eval-pth', ['--no-progress'], 0, 'output/eval-pth/metrics.json'),
    ('export', [], 0, 'output/export/dla_tiny_portable.onnx'),
    ('eval-onnx', ['--no-progress', '--limit', '16'], 0, 'output/eval-onnx/metrics.json'),
    ('verify', ['--no-progress', '--limit', '8'], 0, 'output/verify/dla_tiny_portable/verification.json'),
    (
        'reproduce',
        ['--sample', '--target', 'portable', '--no-progress'],
        0,
        'output/reproduce/report.json',
    ),
    ('report', [], 0, 'output/report/report.html'),
    ('detect', ['--save', 'none', '--no-progress'], 0, 'output/detect/detections.json'),
    ('dump-inputs', ['--limit', '4', '--no-progress'], 0, 'output/dump-inputs/manifest.json'),
    ('merge', [], 0, 'output/merge/metrics.json'),  # of what eval-pth wrote: one shard of one
    ('eval-outputs', ['--no-progress'], 2, None),  # there are no outputs
    ('fetch', ['--verify-only'], 1, None),  # the published files are missing
    ('test', ['-q', 'tests/kernels/test_reference.py'], 0, None),
]


def test_every_service_is_here():
    with open(os.path.join(ROOT, 'docker-compose.yml'), encoding='utf-8') as file:
        services = re.findall(r'entrypoint: \[entrypoint\.sh, ([\w-]+)\]', file.read())
    services.remove('scheduler')  # of a cluster, which is not tried with podman
    assert sorted(services) == sorted(name for name, _, _, _ in SERVICES)


@pytest.mark.parametrize('service, flags, status, written', SERVICES, ids=[row[0] for row in SERVICES])
def test_a_service_with_podman_compose(user, service, flags, status, written):
    run = user.compose('run', '--rm', '-T', service, *flags, check=False, STACK=STACK, CUDA=CUDA)
    assert run.returncode == status, run.stdout[-2000:] + run.stderr[-4000:]
    assert 'Traceback' not in run.stderr
    if service == 'fetch':
        assert 'ctdet_coco_dla_2x.pth' in run.stdout
    if service == 'test':
        assert ' passed' in run.stdout and ' failed' not in run.stdout
    if written:
        assert (user.checkout / written).exists()
    if service == 'eval-pth':
        assert json.loads((user.checkout / written).read_text())['metrics']['AP'] >= 0.6
    assert foreign_files(user) == []


def documented_command(image):
    """The words of the command in docs/container.md that needs no podman-compose, for an image."""
    with open(os.path.join(ROOT, 'docs', 'container.md'), encoding='utf-8') as file:
        (block,) = re.findall(r'^```\n(podman run .*?)^```', file.read(), re.MULTILINE | re.DOTALL)
    words = shlex.split(block.replace('\\\n', ' '))
    return [image if word.startswith('centernet-container:') else word for word in words]


def test_the_documented_command(user, images):
    words = documented_command(images[0])
    assert images[0] in words and words[-1] == 'eval-pth'
    user.run(*words, '--limit', '8', '--no-progress', '--output', 'output/plain')
    assert (user.checkout / 'output' / 'plain' / 'metrics.json').exists()
    assert foreign_files(user) == []


def test_its_restrictions(user, images):
    """The root of the container is the user, and nothing but output can be written."""
    script = 'touch /opt/x data/x models/x 2>&1 | sed "s/.*: //" | sort -u; ls /sys/class/net; id -u'
    script += '; touch output/x'
    printed = user.run(*documented_command(images[0])[:-1], 'bash', '-c', script).stdout
    assert printed.splitlines() == ['Read-only file system', 'lo', '0']
    assert (user.checkout / 'output' / 'x').stat().st_uid == user.uid
