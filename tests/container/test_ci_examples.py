"""deploy/ci: the jobs' scripts, run as the CI services run them. The merged results are those of one run.

A job starts in an empty checkout; artifacts are copied from one to another, as the files say.
"""

import json
import os

import pytest
from support.engine import IMAGE, ROOT, call

yaml = pytest.importorskip('yaml')


def read(name):
    with open(os.path.join(ROOT, 'deploy', 'ci', name), encoding='utf-8') as file:
        return yaml.safe_load(file)


@pytest.fixture(scope='module')
def whole(settings, images, tmp_path_factory):
    """The results.json of a run that is not divided."""
    output = tmp_path_factory.mktemp('whole')
    call(
        ['docker', 'run', '--rm', '-v', f'{output}:/workspace/output', IMAGE, 'eval-pth'],
        environment=settings,
    )
    return (output / 'eval-pth' / 'results.json').read_bytes()


def copy(source, target):
    """Add the content of a folder to that of another."""
    target.mkdir(parents=True, exist_ok=True)
    call(['cp', '-r', f'{source}/.', str(target)], quiet=True)


def steps_of(job, action):
    """The inputs of a job's steps that use an action."""
    return [step['with'] for step in job['steps'] if step.get('uses', '').startswith(action + '@')]


def run_github(job, folder, settings, **variables):
    """Run the scripts of a GitHub job in a folder."""
    for step in job['steps']:
        if 'run' in step:
            assert set(step.get('env', {})) == set(variables)
            environment = dict(settings, IMAGE=IMAGE, **variables)
            call(['bash', '-eo', 'pipefail', '-c', step['run']], environment=environment, cwd=str(folder))


def test_github(settings, whole, tmp_path):
    jobs = read('github-actions.yml')['jobs']
    shards = jobs['shard']['strategy']['matrix']['shard']
    (up,), (down,) = (
        steps_of(jobs['shard'], 'actions/upload-artifact'),
        steps_of(jobs['merge'], 'actions/download-artifact'),
    )
    assert jobs['merge']['needs'] == 'shard' and down['merge-multiple'] is True
    assert up['name'].startswith(down['pattern'].rstrip('*'))
    merging = tmp_path / 'merge'
    for shard in shards:
        folder = tmp_path / f'shard-{shard}'
        folder.mkdir()
        run_github(jobs['shard'], folder, settings, SHARD=f'{shard}/{len(shards)}')
        copy(folder / up['path'], merging / down['path'])
    run_github(jobs['merge'], merging, settings)
    (result,) = steps_of(jobs['merge'], 'actions/upload-artifact')
    assert (merging / result['path'] / 'results.json').read_bytes() == whole


def run_gitlab(job, folder, settings, **variables):
    """Run the script of a GitLab job in its image, in a folder."""
    options = ['--volume', f'{folder}:/builds/project', '--workdir', '/builds/project', '--entrypoint', '']
    options += [word for item in variables.items() for word in ('--env', '='.join(item))]
    script = ['sh', '-ec', '\n'.join(job['script'])]
    return call(['docker', 'run', '--rm', *options, IMAGE, *script], environment=settings)


def test_gitlab(settings, whole, tmp_path):
    jobs = read('gitlab-ci.yml')
    assert {jobs[name]['extends'] for name in ('shard', 'merge')} == {'.centernet'}
    assert jobs['.centernet']['image']['entrypoint'] == [''], 'GitLab starts a shell'
    assert jobs['merge']['needs'] == ['shard']
    (path,) = jobs['shard']['artifacts']['paths']
    merging, count = tmp_path / 'merge', jobs['shard']['parallel']
    for index in range(1, count + 1):
        folder = tmp_path / f'shard-{index}'
        folder.mkdir()
        variables = {'CI_NODE_INDEX': str(index), 'CI_NODE_TOTAL': str(count)}
        run = run_gitlab(jobs['shard'], folder, settings, **variables)
        assert f'shard {index}/{count} (CI_NODE_INDEX={index}, CI_NODE_TOTAL={count})' in run.stderr
        copy(folder / path, merging / path)
    run_gitlab(jobs['merge'], merging, settings)
    (path,) = jobs['merge']['artifacts']['paths']
    assert (merging / path / 'results.json').read_bytes() == whole
    assert json.loads(whole.decode())
