"""The compose files: valid with and without the GPU override, and documented by .env.example."""

import json
import os
import re

import pytest
from support.engine import ROOT, call

FILES = ['docker-compose.yml', os.path.join('docker', 'compose.gpu.yml')]
STACKS, SELINUX = (os.path.join('docker', f'compose.{name}.yml') for name in ('stacks', 'selinux'))
SERVICES = {
    'eval-pth',
    'export',
    'test',
    'eval-onnx',
    'verify',
    'detect',
    'report',
    'doctor',
    'fetch',
    'reproduce',
}
SERVICES |= {'dump-inputs', 'eval-outputs', 'merge'}
#: of the profile cluster
CLUSTER = {'scheduler', 'worker', 'eval-pth-dask', 'eval-onnx-dask'}
#: services with a network, which write into the data and models folders
FETCHING = {'fetch', 'reproduce'}


def read(name):
    with open(os.path.join(ROOT, name), encoding='utf-8') as file:
        return file.read()


def document(engine, *files, profile='', **variables):
    command = ['docker', 'compose', '--profile', profile]
    command += [word for file in files for word in ('--file', file)] + ['config', '--format', 'json']
    return json.loads(call(command, environment=dict(engine, **variables), cwd=ROOT).stdout)


def config(engine, *files, **variables):
    return document(engine, *files, **variables)['services']


def test_without_gpus(engine):
    services = config(engine, FILES[0])
    assert set(services) == SERVICES
    for name, service in services.items():
        assert 'deploy' not in service
        assert service['network_mode'] == ('bridge' if name in FETCHING else 'none')
        assert service['read_only'] is True
        assert [volume.get('read_only', False) for volume in service['volumes'][:3]] == [
            name not in FETCHING
        ] * 2 + [False]
        assert 'shm_size' not in service


def test_the_cluster(engine):
    found = document(engine, FILES[0], profile='cluster')
    assert found['networks']['cluster']['internal'] is True
    assert set(found['services']) == SERVICES | CLUSTER
    eval_pth = found['services']['eval-pth']
    same = ('image', 'cap_drop', 'cap_add', 'security_opt', 'tmpfs', 'read_only', 'mem_limit', 'pids_limit')
    for name in CLUSTER:
        service = found['services'][name]
        assert {key: service[key] for key in same} == {key: eval_pth[key] for key in same}
        assert list(service['networks']) == ['cluster']
        assert 'ports' not in service and 'network_mode' not in service
        assert service['volumes'][:3] == eval_pth['volumes']
        certificates = service['volumes'][3]
        assert certificates['target'] == '/workspace/certificates' and certificates['read_only'] is True


def test_the_environment_of_the_services(engine):
    given = {'WEIGHTS': 'models/a.pth', 'DATA': 'data/coco', 'SOURCE': 'input', 'DEVICE': 'cpu'}
    passed = {
        name: {key for key in given if (service.get('environment') or {}).get(key) == given[key]}
        for name, service in config(engine, FILES[0], profile='cluster', **given).items()
    }
    data, weights_and_data = {'DATA'}, {'WEIGHTS', 'DATA'}
    everything = {'WEIGHTS', 'DATA', 'DEVICE'}
    assert passed == {
        'eval-pth': everything,
        'verify': everything,
        'eval-outputs': everything,
        'doctor': everything,
        'detect': {'WEIGHTS', 'SOURCE', 'DEVICE'},
        'export': weights_and_data,
        'eval-onnx': weights_and_data,
        'report': weights_and_data,
        'dump-inputs': weights_and_data,
        'fetch': data,  # WEIGHTS is the user's own checkpoint, not a published one
        'reproduce': {'DATA', 'DEVICE'},
        'merge': weights_and_data,
        'test': set(),
        'eval-pth-dask': everything,
        'eval-onnx-dask': weights_and_data,
        'scheduler': set(),  # the workers get the options of the command
        'worker': set(),
    }


def test_with_gpus(engine):
    services = config(engine, *FILES, profile='cluster')
    reserved = {name for name, service in services.items() if 'deploy' in service}
    assert reserved == {
        'eval-pth',
        'reproduce',
        'verify',
        'eval-outputs',
        'detect',
        'doctor',
        'test',
        'worker',
    }
    device = services['eval-pth']['deploy']['resources']['reservations']['devices'][0]
    assert device == {'driver': 'nvidia', 'device_ids': ['0'], 'capabilities': ['gpu']}
    required = {
        name
        for name, service in services.items()
        if (service.get('environment') or {}).get('DEVICE') == 'cuda'
    }
    assert required == {'eval-pth', 'eval-pth-dask', 'reproduce', 'detect', 'doctor'}
    assert config(engine, *FILES, DEVICE='cpu')['eval-pth']['environment']['DEVICE'] == 'cpu'


@pytest.mark.parametrize(
    'files, variables, name, platform',
    [
        (FILES[:1], {}, 'pinned-cuda-10.0', 'linux/amd64'),
        (FILES, {}, 'pinned-cuda-10.0', 'linux/amd64'),
        (FILES[:1], {'CUDA': 'none'}, 'pinned-cuda-none', 'linux/amd64'),
        (FILES[:1], {'STACK': 'pinned'}, 'pinned-cuda-10.0', 'linux/amd64'),
        (FILES[:1], {'STACK': 'modern'}, 'modern-cuda-none', None),
        (FILES, {'STACK': 'modern'}, 'modern-cuda-13.0', None),
        (FILES[:1], {'STACK': 'modern', 'CUDA': '13.0'}, 'modern-cuda-13.0', None),
    ],
)
def test_the_images_of_the_stacks(engine, files, variables, name, platform):
    environment = {key: value for key, value in engine.items() if key not in ('STACK', 'CUDA')}
    services = config(environment, *files, profile='cluster', **variables)
    assert set(services) == SERVICES | CLUSTER
    stack, _, cuda = name.partition('-cuda-')
    for service, found in services.items():
        test = service == 'test'
        assert found['image'] == f'centernet-container:{name}' + ('-test' if test else '')
        assert found['build']['target'] == ('test' if test else 'runtime')
        assert (found['build']['args']['STACK'], found['build']['args']['CUDA']) == (stack, cuda)
        assert found.get('platform') == platform


def test_a_published_image(engine):
    name = 'registry.example/centernet@sha256:' + 64 * '0'
    for stack in ('pinned', 'modern'):
        for files in (FILES[:1], FILES):
            services = config(engine, *files, profile='cluster', IMAGE=name, STACK=stack)
            assert {service['image'] for key, service in services.items() if key != 'test'} == {name}
            assert services['test']['image'].startswith('centernet-container:'), 'it has no tests'


def test_an_unknown_stack(engine):
    run = call(
        ['docker', 'compose', 'config'], environment=dict(engine, STACK='ancient'), cwd=ROOT, check=False
    )
    assert run.returncode != 0 and re.search(
        r'"ancient\S* not found in docker/compose.stacks.yml', run.stderr
    )


def test_the_override_for_selinux_changes_labels_only(engine):
    plain, labelled = (
        config(engine, *files, profile='cluster') for files in ([FILES[0]], [FILES[0], SELINUX])
    )
    for name, service in labelled.items():
        folders = [volume for volume in service['volumes'] if volume['type'] == 'bind']
        assert len(folders) == (4 if name in CLUSTER else 3)
        assert {volume.pop('bind')['selinux'] for volume in folders} == {'z'}
    for service in plain.values():
        for volume in service['volumes']:
            volume.pop('bind', None)
    assert labelled == plain


def test_a_gpu_reservation_without_a_runtime_says_so(engine, images, settings):
    if 'nvidia' in call(['docker', 'info', '--format', '{{json .Runtimes}}'], environment=engine).stdout:
        pytest.skip('this engine has the NVIDIA runtime')
    run = call(
        [
            'docker',
            'compose',
            '--file',
            FILES[0],
            '--file',
            FILES[1],
            'run',
            '--rm',
            '-T',
            'eval-pth',
            '--limit',
            '1',
        ],
        environment=settings,
        cwd=ROOT,
        check=False,
    )
    assert run.returncode != 0
    assert 'could not select device driver' in run.stderr


def test_every_variable_is_in_the_example():
    used = set(re.findall(r'\$\{(\w+)', ''.join(read(name) for name in FILES + [STACKS, SELINUX])))
    described = set(re.findall(r'^#?([A-Z0-9_]+)=', read('.env.example'), re.MULTILINE))
    assert used <= described
    assert described - used == {'COMPOSE_FILE', 'HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'}


def test_the_example_changes_nothing(engine, tmp_path):
    plain = config(engine, FILES[0], profile='cluster')
    command = [
        'docker',
        'compose',
        '--profile',
        'cluster',
        '--env-file',
        '.env.example',
        '--file',
        FILES[0],
        'config',
        '--format',
        'json',
    ]
    assert json.loads(call(command, environment=engine, cwd=ROOT).stdout)['services'] == plain
