"""A real engine, a base, and the images built on it. Each is made where it is missing, once, and removed at
the end.

CENTERNET_CONTAINER=1        without it nothing here runs: building the images takes minutes and some GB
BASE_IMAGE=ubuntu:18.04      build on this, in place of the stand-in of tests/container/standin
CENTERNET_PINNED_PYTHON=     the pinned stack outside the container, whose figures the container's have to equal; its Python
                             also becomes the stand-in's
"""

import os
import shlex
import shutil

import pytest
from support.engine import MARKER, ROOT, Compose, call

SWITCH = 'CENTERNET_CONTAINER'
CA_BUNDLE = '/etc/ssl/certs/ca-certificates.crt'


@pytest.fixture(scope='session', autouse=True)
def engine(tmp_path_factory):
    """The environment in which ``docker`` reaches an engine that has compose and buildx."""
    if not os.environ.get(SWITCH):
        pytest.skip(
            f'{SWITCH} is not set: these tests build images, which takes minutes and some GB (.ci/run'
            ' container)'
        )
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
        if (
            started.returncode == 2
        ):  # what it says itself of the machine; anything else is a fault of ours, or of the network
            pytest.skip('no engine can be started: {}'.format(' '.join(started.stderr.split())[-500:]))
        assert started.returncode == 0, started.stderr[-8000:]
        words = [word.partition('=') for word in shlex.split(started.stdout) if '=' in word]
        yield dict(environment, **{name: value for name, _, value in words})
    finally:
        call([script, 'stop', folder])


@pytest.fixture(scope='session')
def base(engine):
    """The image that everything is built on."""
    given = os.environ.get('BASE_IMAGE')
    if given:
        return given
    tag = 'centernet-standin:base'
    python = os.environ.get('CENTERNET_PINNED_PYTHON', 'python3.6')
    call([os.path.join(ROOT, 'tests', 'container', 'standin', 'base.sh'), tag, python], environment=engine)
    return tag


@pytest.fixture(scope='session')
def settings(engine, base, tmp_path_factory):
    """The variables of .env.example for a build with CUDA=none, with marked secrets."""
    folder = tmp_path_factory.mktemp('secrets')
    secrets = {}
    if os.path.exists(CA_BUNDLE):
        with open(CA_BUNDLE, encoding='utf-8') as file:
            secrets['CA_BUNDLE'] = str(folder / 'ca.pem')
            (folder / 'ca.pem').write_text(f'{MARKER}\n{file.read()}', encoding='utf-8')
    secrets['PIP_CONFIG'] = str(folder / 'pip.conf')
    (folder / 'pip.conf').write_text(f'{MARKER}\n[global]\ntimeout = 180\n')
    return dict(engine, BASE_IMAGE=base, CUDA='none', REVISION='0123abc', **secrets)


@pytest.fixture(scope='session')
def images(settings):
    """(the image of the services, the image of the service test), built as a user builds them."""
    call(['docker', 'compose', 'build', 'eval-pth', 'test'], environment=settings, cwd=ROOT)
    return 'centernet-container:cuda-none', 'centernet-container:cuda-none-test'


@pytest.fixture
def compose(settings, images, tmp_path):
    """The services, with folders of this test in place of ./data, ./models and ./output."""
    return Compose(settings, tmp_path)


@pytest.fixture(scope='session')
def outside(tmp_path_factory):
    """The folder of an evaluation of the sample by the pinned stack, without a container."""
    python = os.environ.get('CENTERNET_PINNED_PYTHON')
    if not python:
        pytest.skip(
            'CENTERNET_PINNED_PYTHON is not set: there is no pinned stack outside the container to compare'
            ' with'
        )
    folder = tmp_path_factory.mktemp('outside')
    call([python, '-m', 'centernet', 'eval-pth', '--output', str(folder), '--no-progress'], cwd=str(folder))
    return folder
