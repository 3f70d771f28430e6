"""The compose files: valid with and without the override for GPUs, and every variable of theirs is in
.env.example."""

import json
import os
import re

import pytest
from support.engine import ROOT, call

FILES = ['docker-compose.yml', os.path.join('docker', 'compose.gpu.yml')]
SERVICES = {'eval-pth', 'export', 'test', 'eval-onnx', 'verify', 'doctor', 'fetch', 'reproduce'}
#: have a network, and write into the data and models folders
FETCHING = {'fetch', 'reproduce'}


def read(name):
    with open(os.path.join(ROOT, name), encoding='utf-8') as file:
        return file.read()


def config(engine, *files, **variables):
    command = (
        ['docker', 'compose']
        + [word for file in files for word in ('--file', file)]
        + ['config', '--format', 'json']
    )
    return json.loads(call(command, environment=dict(engine, **variables), cwd=ROOT).stdout)['services']


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


def test_with_gpus(engine):
    services = config(engine, *FILES)
    reserved = {name for name, service in services.items() if 'deploy' in service}
    assert reserved == {'eval-pth', 'reproduce', 'verify', 'doctor', 'test'}
    device = services['eval-pth']['deploy']['resources']['reservations']['devices'][0]
    assert device == {'driver': 'nvidia', 'device_ids': ['0'], 'capabilities': ['gpu']}
    assert services['eval-pth']['environment']['DEVICE'] == 'cuda'
    assert config(engine, *FILES, DEVICE='cpu')['eval-pth']['environment']['DEVICE'] == 'cpu'


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
    used = set(re.findall(r'\$\{(\w+)', ''.join(read(name) for name in FILES)))
    described = set(re.findall(r'^#?([A-Z0-9_]+)=', read('.env.example'), re.MULTILINE))
    assert used <= described
    assert described - used == {'COMPOSE_FILE', 'HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'}


def test_the_example_changes_nothing(engine, tmp_path):
    plain = config(engine, FILES[0])
    command = [
        'docker',
        'compose',
        '--env-file',
        '.env.example',
        '--file',
        FILES[0],
        'config',
        '--format',
        'json',
    ]
    assert json.loads(call(command, environment=engine, cwd=ROOT).stdout)['services'] == plain
