"""The dev container: its image builds, and what is documented for a checkout works in it, not as root.

Neither VS Code nor its command line tool is used: the tests do with docker what the file says.
"""

import json
import os
import shutil
import subprocess

import pytest
from support.engine import CUDA, ROOT, STACK, call

FOLDER = os.path.join(ROOT, '.devcontainer')
WORKSPACE = '/workspaces/centernet'

pytestmark = pytest.mark.skipif(
    not os.path.isdir(FOLDER), reason='not a whole checkout: the image omits files'
)


@pytest.fixture(scope='module')
def described():
    with open(os.path.join(FOLDER, 'devcontainer.json'), encoding='utf-8') as file:
        return json.load(file)


def test_the_description(described):
    build = described['build']
    assert os.path.samefile(os.path.join(FOLDER, build['context']), ROOT)
    with open(os.path.join(FOLDER, build['dockerfile']), encoding='utf-8') as file:
        dockerfile = file.read()
    assert ' AS {}\n'.format(build['target']) in dockerfile
    assert 'useradd --create-home --shell /bin/bash {}\n'.format(described['remoteUser']) in dockerfile
    for name in build['args']:
        assert f'ARG {name}' in dockerfile


@pytest.fixture
def checkout(tmp_path):
    """A copy of the files that git has or would add, with the wheels that stand in for an index."""
    folder = tmp_path / 'checkout'
    listed = subprocess.check_output(
        ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], cwd=ROOT
    )
    for name in listed.decode().rstrip('\0').split('\0'):
        if os.path.exists(os.path.join(ROOT, name)):  # not deleted
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.join(ROOT, name), str(folder / name))
    for name in os.listdir(os.path.join(ROOT, 'docker', 'wheels')):
        shutil.copy(os.path.join(ROOT, 'docker', 'wheels', name), str(folder / 'docker' / 'wheels'))
    subprocess.check_call(['git', 'init', '--quiet'], cwd=str(folder))
    subprocess.check_call(['git', 'add', '--all'], cwd=str(folder))
    return folder


@pytest.mark.skipif((STACK, CUDA) != ('modern', 'none'), reason='the dev container is of the modern stack')
def test_work_in_it(described, settings, checkout):
    build, image, user = described['build'], 'centernet-container:dev', described['remoteUser']
    command = ['docker', 'buildx', 'build', '--load', '--tag', image, '--target', build['target']]
    for name, value in dict(build['args'], BASE_IMAGE=settings['BASE_IMAGE']).items():
        command += ['--build-arg', f'{name}={value}']
    for name, variable in (('ca', 'CA_BUNDLE'), ('pip', 'PIP_CONFIG')):
        if variable in settings:
            command += ['--secret', f'id={name},src={settings[variable]}']
    dockerfile = os.path.join(FOLDER, build['dockerfile'])
    call([*command, '--file', dockerfile, os.path.join(FOLDER, build['context'])], environment=settings)

    command = ['docker', 'run', '--rm', '--volume', f'{checkout}:{WORKSPACE}', '--workdir', WORKSPACE]
    for name, value in described['containerEnv'].items():
        command += ['--env', f'{name}={value}']
    for name, variable in (('CA_BUNDLE', 'PIP_CERT'), ('PIP_CONFIG', 'PIP_CONFIG_FILE')):
        if name in settings:
            command += [
                '--volume',
                f'{settings[name]}:/run/{variable}:ro',
                '--env',
                f'{variable}=/run/{variable}',
            ]
    # of the build under test, where an index does not have it
    command += ['--env', 'PIP_FIND_LINKS=docker/wheels']
    ids = call([*command, '--user', user, image, 'sh', '-c', 'id -u; id -g'], environment=settings).stdout
    uid, gid = map(int, ids.split())
    assert uid != 0
    for path in [checkout, *checkout.glob('**/*')]:
        os.chown(str(path), uid, gid)

    def run(script):
        return call([*command, '--user', user, image, 'bash', '-c', script], environment=settings).stdout

    run(described['postCreateCommand'])
    settings_of_code = described['customizations']['vscode']['settings']
    for path in [settings_of_code['python.defaultInterpreterPath'], *settings_of_code['ruff.path']]:
        assert (checkout / path.replace('${containerWorkspaceFolder}/', '')).is_symlink() or (
            checkout / path.replace('${containerWorkspaceFolder}/', '')
        ).is_file()
    before = sorted(path.name for path in checkout.glob('.venv-*'))
    printed = run('make test ARGS="-q tests/kernels/test_module.py tests/test_device.py"')
    assert ' passed' in printed and 'the compiled operator is missing' not in printed
    run('make lint')
    # g++ is there: a change of the operator is compiled
    source = checkout / 'src' / 'centernet' / 'kernels' / 'csrc' / 'cpu_plain.cpp'
    source.write_text(source.read_text() + '// changed\n')
    assert 'compiled for' in run('CENTERNET_DCN=compiled make doctor')
    assert sorted(path.name for path in checkout.glob('.venv-*')) == before == ['.venv-3.11', '.venv-lint']
