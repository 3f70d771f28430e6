"""IMAGE with a registry: what was pushed is pulled by its digest, not built, and gives the same figures.

The registry is Debian's docker-registry on the loopback, with its files in a temporary folder.
"""

import hashlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from support.engine import ROOT, call

pytestmark = pytest.mark.skipif(
    shutil.which('docker-registry') is None, reason="docker-registry is missing (Debian's docker-registry)"
)

CONFIG = """version: 0.1
storage: {{filesystem: {{rootdirectory: {}}}}}
http: {{addr: "{}"}}
"""
#: a base that nothing can be built on
NO_BASE = '127.0.0.1:1/nothing'


@pytest.fixture(scope='module')
def registry(tmp_path_factory):
    """The address of a registry, as in the names of images."""
    folder = tmp_path_factory.mktemp('registry')
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        address = '127.0.0.1:{}'.format(probe.getsockname()[1])
    (folder / 'config.yml').write_text(CONFIG.format(folder / 'data', address))
    with open(str(folder / 'log'), 'wb') as log:
        process = subprocess.Popen(
            ['docker-registry', 'serve', str(folder / 'config.yml')], stdout=log, stderr=log
        )
    try:
        deadline = time.time() + 30
        while not answers(address):
            assert process.poll() is None and time.time() < deadline, (folder / 'log').read_text()[-2000:]
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def answers(address):
    try:
        with urllib.request.urlopen(f'http://{address}/v2/', timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def published_digest(address, name, tag):
    """The digest of what the registry has under a tag, from the manifest itself."""
    accept = (
        'application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json'
    )
    request = urllib.request.Request(
        f'http://{address}/v2/{name}/manifests/{tag}',
        headers={'Accept': accept + ', application/vnd.oci.image.index.v1+json'},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return 'sha256:' + hashlib.sha256(answer.read()).hexdigest()


def image_id(settings, name):
    """The ID of an image on this engine; None if it has none of that name."""
    run = call(['docker', 'image', 'inspect', '--format', '{{.Id}}', name], environment=settings, check=False)
    return run.stdout.strip() or None


def figures(compose, name):
    return json.loads((compose.output / name / 'metrics.json').read_text())['metrics']


def test_a_published_image_is_pulled_by_its_digest(compose, settings, images, registry):
    compose.run('eval-pth', '--no-progress', '--output', 'output/built')
    built, tagged = image_id(settings, images[0]), f'{registry}/centernet:1.0'
    call(['docker', 'tag', images[0], tagged], environment=settings)
    call(['docker', 'push', '--quiet', tagged], environment=settings)
    by_digest = f'{registry}/centernet@' + published_digest(registry, 'centernet', '1.0')
    # every name of this image: other builds may have given the same one
    inspect = ['docker', 'image', 'inspect', '--format', '{{join .RepoTags " "}}', built]
    names = call(inspect, environment=settings).stdout.split()
    try:
        call(['docker', 'image', 'rm', *names], environment=settings)
        assert image_id(settings, built) is None
        run = compose.run(
            'eval-pth', '--no-progress', '--output', 'output/pulled', IMAGE=by_digest, BASE_IMAGE=NO_BASE
        )
        assert 'Pull' in run.stderr and 'Build' not in run.stderr
        assert image_id(settings, by_digest) == built
        assert figures(compose, 'pulled') == figures(compose, 'built')
        assert figures(compose, 'pulled')['AP'] >= 0.6
        # it is here now, so neither the registry nor a build is needed
        again = compose.run('doctor', IMAGE=by_digest, BASE_IMAGE=NO_BASE)
        assert 'Pull' not in again.stderr
    finally:
        call(['docker', 'pull', '--quiet', by_digest], environment=settings, check=False)
        for name in names:
            call(['docker', 'tag', by_digest, name], environment=settings, check=False)
        call(['docker', 'image', 'rm', tagged], environment=settings, check=False)
    assert image_id(settings, images[0]) == built


def test_a_tag_that_is_not_published_is_built(compose, settings, images, registry):
    name = f'{registry}/centernet:never-published'
    try:
        compose.run('doctor', IMAGE=name)
        layers = [
            call(
                ['docker', 'image', 'inspect', '--format', '{{json .RootFS.Layers}}', image],
                environment=settings,
            ).stdout
            for image in (name, images[0])
        ]
        assert layers[0] == layers[1]
    finally:
        call(['docker', 'image', 'rm', name], environment=settings, check=False)


def test_a_digest_that_is_not_published_cannot_be_built(compose, registry):
    name = f'{registry}/centernet@sha256:' + 64 * '0'
    run = compose.run('doctor', check=False, IMAGE=name)
    assert run.returncode != 0
    assert 'digest' in run.stderr


def test_the_image_of_the_tests_is_never_pulled(compose, settings, images, registry):
    found = call(
        ['docker', 'compose', 'config', '--images', 'test'],
        environment=dict(settings, IMAGE=f'{registry}/centernet:1.0'),
        cwd=ROOT,
    ).stdout.split()
    assert images[1] in found and f'{registry}/centernet:1.0' not in found
