"""A Docker engine, a base image, and the images built on it: made once where missing, removed at the end.

CENTERNET_CONTAINER_TESTS=1  required by the tests that need an engine, which take minutes and some GB
STACK=pinned, CUDA=none      the image under test: pinned or modern, and its CUDA
BASE_IMAGE=ubuntu:18.04      build on this image instead of the stand-in (tests/container/standin)
CENTERNET_PINNED_PYTHON=     a pinned stack outside the container, whose figures the container must equal; the
                             stand-in packs its Python
"""

import os
import re
import shlex
import shutil
import sys

import pytest
from support.engine import CUDA, IMAGE, MARKER, NO_ENGINE, ROOT, STACK, Compose, call

SWITCH = 'CENTERNET_CONTAINER_TESTS'
CA_BUNDLE = '/etc/ssl/certs/ca-certificates.crt'


@pytest.fixture(scope='session')
def engine(tmp_path_factory):
    """The environment variables with which ``docker`` finds an engine with compose and buildx."""
    if not os.environ.get(SWITCH):
        pytest.skip(f'{SWITCH} is not set: building images takes minutes and some GB (.ci/run container)')
    environment = dict(os.environ)
    probes = (['docker', 'info'], ['docker', 'compose', 'version'], ['docker', 'buildx', 'version'])
    if shutil.which('docker') and all(
        call(probe, quiet=True, check=False).returncode == 0 for probe in probes
    ):
        yield environment
        return
    folder = str(tmp_path_factory.mktemp('engine') / 'docker')
    script = os.path.join(ROOT, 'tests', 'container', 'standin', 'engine.sh')
    try:
        started = call([script, 'start', folder], check=False)
        if started.returncode == NO_ENGINE:
            pytest.skip('no engine can be started: {}'.format(' '.join(started.stderr.split())[-500:]))
        assert started.returncode == 0, started.stderr[-8000:]
        words = [word.partition('=') for word in shlex.split(started.stdout) if '=' in word]
        yield dict(environment, **{name: value for name, _, value in words})
    finally:
        call([script, 'stop', folder])


@pytest.fixture(scope='session')
def base(engine):
    """The name of the base image."""
    given = os.environ.get('BASE_IMAGE')
    if given:
        return given
    tag = f'centernet-standin:{STACK}'
    python = os.environ.get('CENTERNET_PINNED_PYTHON', 'python3.6')
    call(
        [os.path.join(ROOT, 'tests', 'container', 'standin', 'base.sh'), tag, STACK, python],
        environment=engine,
    )
    return tag


def put_torch_into_the_context():
    """Put torch's CPU wheel into docker/wheels where this machine's pip finds one.

    The build of the modern image takes it from there, so that it does not need PyTorch's own index.
    """
    if (STACK, CUDA) == ('modern', 'none'):
        with open(os.path.join(ROOT, 'requirements', 'modern-torch.txt'), encoding='utf-8') as file:
            version = re.search(r'^(torch==[0-9.]+); python_version >=', file.read(), re.MULTILINE).group(1)
        command = [
            sys.executable,
            '-m',
            'pip',
            'download',
            '--no-deps',
            '--only-binary',
            ':all:',
            f'{version}+cpu',
        ]
        options = ['--python-version', '3.11', '--dest', os.path.join(ROOT, 'docker', 'wheels')]
        call(command + options, check=False)


@pytest.fixture(scope='session')
def settings(engine, base, tmp_path_factory):
    """The variables of .env.example for the build under test, with a marker in every secret."""
    folder = tmp_path_factory.mktemp('secrets')
    secrets = {}
    if os.path.exists(CA_BUNDLE):
        with open(CA_BUNDLE, encoding='utf-8') as file:
            secrets['CA_BUNDLE'] = str(folder / 'ca.pem')
            (folder / 'ca.pem').write_text(f'{MARKER}\n{file.read()}', encoding='utf-8')
    secrets['PIP_CONFIG'] = str(folder / 'pip.conf')
    (folder / 'pip.conf').write_text(f'{MARKER}\n[global]\ntimeout = 180\n')
    put_torch_into_the_context()
    return dict(engine, STACK=STACK, BASE_IMAGE=base, CUDA=CUDA, REVISION='0123abc', **secrets)


@pytest.fixture(scope='session')
def images(settings):
    """The names of the services' image and of the test service's image, built as users build them."""
    call(['docker', 'compose', 'build', 'eval-pth', 'test'], environment=settings, cwd=ROOT)
    return IMAGE, IMAGE + '-test'


@pytest.fixture
def compose(settings, images, tmp_path):
    """The services, with temporary folders in place of ./data, ./models and ./output."""
    return Compose(settings, tmp_path)


@pytest.fixture(scope='session')
def outside(tmp_path_factory):
    """The output folder of the pinned stack outside the container, for the sample."""
    python = os.environ.get('CENTERNET_PINNED_PYTHON')
    if not python:
        pytest.skip(
            'CENTERNET_PINNED_PYTHON is not set: no pinned stack outside the container to compare with'
        )
    folder = tmp_path_factory.mktemp('outside')
    call([python, '-m', 'centernet', 'eval-pth', '--output', str(folder), '--no-progress'], cwd=str(folder))
    return folder
