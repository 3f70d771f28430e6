"""The content of the image, and the privileges of its services."""

import json
import os
import re
import tarfile

import pytest
from support.engine import CUDA, MARKER, STACK, call, show

#: by stack and CUDA
MOST_BYTES = {('pinned', 'none'): 2.2e9, ('modern', 'none'): 1.3e9, ('modern', '13.0'): 9e9}
#: what must not be in a runtime image: compilers and their files, version control, caches, our build files
FORBIDDEN = re.compile(
    r"""
    ^(usr/(local/)?bin|opt/venv/bin)/([\w-]*-)?(gcc|g\+\+|cc|c\+\+|cpp|clang|nvcc|ld|as|make|patch|git|pip)[\d.-]*$
    | /cc1(plus)?$ | /Python\.h$ | (^|/)\.git(/|$) | (^|/)\.env$ | \.o$ | /crt1\.o$ | ^usr/local/cuda
    | ^root/\.(cache|pip|config) | ^home/. | ^tmp/. | ^run/secrets/. | ^src(/|$) | ^build/. | ^installed
    | ^var/cache/apt/(archives/)?[^/]+\.(deb|bin)$ | ^var/lib/apt/lists/. | ^var/log/. | ^opt/tests
""",
    re.VERBOSE,
)


@pytest.fixture(scope='module')
def listing(settings, images, tmp_path_factory):
    """(all file names in the image, the names of files that contain the marker of the build's secrets)"""
    path = tmp_path_factory.mktemp('image') / 'image.tar'
    container = call(['docker', 'create', images[0]], environment=settings).stdout.strip()
    try:
        call(['docker', 'export', '--output', str(path), container], environment=settings)
    finally:
        call(['docker', 'rm', container], environment=settings, quiet=True)
    names, marked = [], []
    with tarfile.open(str(path)) as archive:
        for member in archive:
            names.append(member.name)
            if member.isfile() and MARKER.encode() in archive.extractfile(member).read():
                marked.append(member.name)
    path.unlink()
    show(f'{len(names)} files in {images[0]}')
    return names, marked


def test_nothing_forbidden_is_in_the_image(listing):
    names, _ = listing
    assert 'opt/venv/bin/centernet' in names
    assert [name for name in names if FORBIDDEN.search(name)] == []


def test_the_pattern_of_forbidden_files():
    for name in (
        'usr/bin/gcc',
        'usr/bin/x86_64-linux-gnu-g++-7',
        'usr/bin/cc',
        'usr/lib/gcc/x86_64-linux-gnu/7/cc1plus',
        'opt/venv/bin/pip3.6',
        'usr/local/cuda-10.0/bin/nvcc',
        'work/.git/config',
        'root/.cache/pip',
        'var/lib/apt/lists/a',
        'usr/include/python3.6m/Python.h',
    ):
        assert FORBIDDEN.search(name), name
    for name in (
        'usr/bin/bash',
        'usr/bin/python3.6',
        'opt/venv/bin/python',
        'usr/bin/basename',
        'usr/bin/passwd',
    ):
        assert not FORBIDDEN.search(name), name


def test_no_secret_of_the_build_is_in_the_image(listing, settings, images):
    assert listing[1] == []
    history = call(['docker', 'history', '--no-trunc', images[0]], environment=settings).stdout
    assert MARKER not in history and 'CERTIFICATE' not in history


def test_the_secrets_have_the_marker(settings):
    with open(settings['PIP_CONFIG']) as file:
        assert MARKER in file.read()


def test_size(settings, images):
    size = int(
        call(['docker', 'image', 'inspect', '--format', '{{.Size}}', images[0]], environment=settings).stdout
    )
    layers = call(
        ['docker', 'history', '--format', '{{.Size}} {{.CreatedBy}}', images[0]], environment=settings
    ).stdout
    show(f'{size / 1e9:.2f} GB\n{layers}')
    assert size < MOST_BYTES[STACK, CUDA]


def test_labels_and_defaults(settings, images):
    config = json.loads(
        call(
            ['docker', 'image', 'inspect', '--format', '{{json .Config}}', images[0]], environment=settings
        ).stdout
    )
    assert config['Labels']['org.opencontainers.image.revision'] == '0123abc'
    assert config['Labels']['org.opencontainers.image.licenses'] == 'MIT'
    environment = dict(item.split('=', 1) for item in config['Env'])
    assert environment['NVIDIA_DRIVER_CAPABILITIES'] == 'compute,utility'
    assert environment['NVIDIA_VISIBLE_DEVICES'] == 'all'
    assert environment['CENTERNET_CONTAINER'] == '1'
    assert (environment['CENTERNET_STACK'], environment['CENTERNET_CUDA']) == (STACK, CUDA)
    assert config['Entrypoint'] == ['/usr/local/bin/entrypoint.sh']


def test_privileges(compose):
    os.chown(str(compose.output), 1234, 1234)
    script = r'''
        echo "uid $(id -u) groups $(id -G)"
        touch /opt/venv/x /workspace/x 2>&1 | sed -n 's/.*: //p' | sort -u
        echo "network $(ls /sys/class/net | tr '\n' ' ')"
        grep -E '^(CapEff|CapPrm|NoNewPrivs)' /proc/self/status
        touch /tmp/x && echo "tmp is writable"'''
    printed = compose.run('eval-pth', 'bash', '-c', script, options=['--entrypoint', 'entrypoint.sh']).stdout
    lines = [' '.join(line.split()) for line in printed.splitlines()]
    assert lines == [
        'uid 1234 groups 1234',
        'Read-only file system',
        'network lo',
        'CapPrm: 0000000000000000',
        'CapEff: 0000000000000000',
        'NoNewPrivs: 1',
        'tmp is writable',
    ]


def test_the_commands_of_the_original_sample(compose):
    compose.run(
        'eval-pth',
        'python',
        '/opt/centernet/pth_eval.py',
        '--help',
        options=['--entrypoint', 'entrypoint.sh'],
    )


def test_the_test_image_contains_the_checkout_only(settings, images):
    printed = call(
        ['docker', 'run', '--rm', '--entrypoint', 'ls', images[1], '-A', '/opt/tests/checkout'],
        environment=settings,
    ).stdout
    assert not set(printed.split()) & {'.git', '.env', 'data', 'models', 'output', '.ci'}
    assert {'src', 'tests', 'entrypoint.sh'} <= set(printed.split())
