"""Whoever owns the output folder owns what is written; where that cannot be, one line says so."""

import os

import pytest

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason='only root can give folders to other users')
SHORT = ('--limit', '8', '--no-progress')


def owners(folder):
    return {(path.stat().st_uid, path.stat().st_gid) for path in [folder] + list(folder.glob('**/*'))}


@pytest.mark.parametrize('uid, gid', [(1234, 1234), (1234, 5678), (0, 0)])
def test_files_belong_to_the_owner_of_the_folder(compose, uid, gid):
    os.chown(str(compose.output), uid, gid)
    run = compose.run('eval-pth', *SHORT)
    assert f'eval-pth: as uid {uid}, gid {gid}, into output/eval-pth\n' in run.stderr
    assert (compose.output / 'eval-pth' / 'metrics.json').exists()
    assert owners(compose.output) == {(uid, gid)}


def test_an_explicit_user(compose):
    os.chown(str(compose.output), 4321, 4321)
    run = compose.run('eval-pth', *SHORT, options=['--user', '4321:4321'])
    assert 'as uid 4321, gid 4321' in run.stderr
    assert owners(compose.output) == {(4321, 4321)}


def test_a_folder_of_somebody_else(compose):
    run = compose.run('eval-pth', *SHORT, options=['--user', '4321:4321'], check=False)
    assert run.returncode == 2
    assert [line for line in run.stderr.splitlines() if 'error' in line] == [
        'eval-pth: error: the output folder output/eval-pth cannot be written by uid 4321: Permission denied.'
        ' On the host, change its owner or mode, or name another folder with OUTPUT_DIR'
    ]
    assert list(compose.output.iterdir()) == []


@pytest.mark.parametrize('uid', [0, 1234])
def test_a_folder_without_write_permission(compose, uid):
    os.chown(str(compose.output), uid, uid)
    compose.output.chmod(0o555)
    for service in ('eval-pth', 'export', 'eval-onnx', 'verify'):
        run = compose.run(service, check=False)
        assert run.returncode == 2
        assert f'cannot be written by uid {uid}: Permission denied' in run.stderr
        assert 'Traceback' not in run.stderr


def test_a_read_only_mount(compose):
    run = compose.docker(
        'run',
        '--rm',
        '--network',
        'none',
        '--read-only',
        '--volume',
        f'{compose.output}:/workspace/output:ro',
        'centernet-container:cuda-none',
        'eval-pth',
        check=False,
    )
    assert run.returncode == 2
    assert 'cannot be written by uid 0: Read-only file system' in run.stderr
