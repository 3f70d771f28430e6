"""New files belong to the owner of the output folder; a folder that cannot be written is a one-line error."""

import os

import pytest
from support.engine import IMAGE

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason='only root can give folders to other users')
SHORT = ('--limit', '8', '--no-progress')


def refusal(run):
    """The one line with which a run that cannot write its output ends."""
    assert run.returncode == 2, run.stderr
    assert 'Traceback' not in run.stderr
    (line,) = [line for line in run.stderr.splitlines() if 'error' in line]
    assert 'output' in line
    return line


def owners(folder):
    return {(path.stat().st_uid, path.stat().st_gid) for path in [folder] + list(folder.glob('**/*'))}


@pytest.mark.parametrize('uid, gid', [(1234, 1234), (1234, 5678), (0, 0)])
def test_files_belong_to_the_owner_of_the_folder(compose, uid, gid):
    os.chown(str(compose.output), uid, gid)
    compose.run('eval-pth', *SHORT)
    assert (compose.output / 'eval-pth' / 'metrics.json').exists()
    assert owners(compose.output) == {(uid, gid)}


def test_an_explicit_user(compose):
    os.chown(str(compose.output), 4321, 4321)
    compose.run('eval-pth', *SHORT, options=['--user', '4321:4321'])
    assert owners(compose.output) == {(4321, 4321)}


def test_a_folder_of_another_user(compose):
    run = compose.run('eval-pth', *SHORT, options=['--user', '4321:4321'], check=False)
    assert 'Permission denied' in refusal(run)
    assert list(compose.output.iterdir()) == []


@pytest.mark.parametrize('uid', [0, 1234])
def test_a_folder_without_write_permission(compose, uid):
    os.chown(str(compose.output), uid, uid)
    compose.output.chmod(0o555)
    for service in ('eval-pth', 'export', 'eval-onnx', 'verify'):
        assert 'Permission denied' in refusal(compose.run(service, check=False))


def test_a_read_only_mount(compose):
    run = compose.docker(
        'run',
        '--rm',
        '--network',
        'none',
        '--read-only',
        '--volume',
        f'{compose.output}:/workspace/output:ro',
        IMAGE,
        'eval-pth',
        check=False,
    )
    assert 'Read-only file system' in refusal(run)
