import ctypes
import os
import subprocess
import sys
import warnings

import pytest
import torch

from centernet.system import device
from centernet.system.errors import DeviceError, OptionError

SOURCE = os.path.join(os.path.dirname(__file__), os.pardir, 'src')


@pytest.fixture
def machine(monkeypatch):
    """Replace the machine: the allowed processors, pairs of siblings, and the text of files by their path."""

    def replace(cpus, siblings=(), **files):
        files = {path.replace('__', '/'): text for path, text in files.items()}
        for pair in siblings:
            for cpu in pair:
                files[f'sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list'] = ','.join(
                    map(str, pair)
                )
        monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(cpus), raising=False)
        monkeypatch.setattr(device, '_read', lambda path: files.get(path.lstrip('/'), ''))

    return replace


V2, V1 = 'sys/fs/cgroup/cpu.max', 'sys/fs/cgroup/cpu/cpu.cfs_{}_us'


@pytest.mark.parametrize(
    'cpus, siblings, files, count',
    [
        (range(8), [], {}, 8),
        (range(8), [(0, 4), (1, 5), (2, 6), (3, 7)], {}, 4),  # two hardware threads per core
        ([2], [], {}, 1),
        ([0, 4], [(0, 4), (1, 5)], {}, 1),  # both hardware threads of one core
        (range(8), [], {V2: '250000 100000'}, 2),
        (range(8), [], {V2: 'max 100000'}, 8),
        (range(8), [], {V2: '50000 100000'}, 1),
        (range(8), [], {V1.format('quota'): '300000', V1.format('period'): '100000'}, 3),
        (range(8), [], {V1.format('quota'): '-1', V1.format('period'): '100000'}, 8),
        (range(2), [], {V2: '800000 100000'}, 2),
    ],
    ids=str,
)
def test_available_cpus(machine, cpus, siblings, files, count):
    machine(cpus, siblings, **files)
    assert device.available_cpus() == count


def test_this_machine_has_cores():
    assert 1 <= device.available_cpus() <= os.cpu_count()


def environment_after(code, **variables):
    """Run code in a new interpreter that has not imported torch; return the words that it prints."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(('OMP_', 'MKL_', 'GOMP_', 'KMP_'))
    }
    environment.update(variables, PYTHONPATH=SOURCE)
    run = subprocess.run(
        [sys.executable, '-c', 'import os, sys\nfrom centernet.system.device import *\n' + code],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    return run.stdout.decode().split()


def test_threads_are_set_before_torch_is_imported():
    code = (
        'n = prepare_threads({})\nprint(n, os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"],'
        ' os.environ.get("GOMP_SPINCOUNT"), "torch" in sys.modules)'
    )
    assert environment_after(code.format(3)) == ['3', '3', 'PASSIVE', '1000', 'False']
    assert environment_after(code.format(''), OMP_NUM_THREADS='5', OMP_WAIT_POLICY='ACTIVE') == [
        '5',
        '5',
        'ACTIVE',
        'None',
        'False',
    ]
    assert environment_after(code.format(2), OMP_NUM_THREADS='5')[:2] == ['2', '2']
    assert environment_after(code.format(''), OMP_NUM_THREADS='rubbish')[0] == str(device.available_cpus())


def test_freed_memory_is_kept():
    # If blocks were returned to the system, each new one would be mapped page by page: 16 MB are 4096 pages.
    code = """import numpy as np, resource
def faults(fresh=lambda: np.ones(1 << 21)):
    fresh()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10): fresh()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
apply_threads(1)
print(faults())"""
    if not hasattr(ctypes.CDLL(None), 'mallopt'):
        pytest.skip('this C library has no mallopt')
    assert int(environment_after(code)[0]) < 1000


def test_zero_threads():
    with pytest.raises(OptionError, match='at least 1'):
        device.prepare_threads(0)


# devices

T4, V100, A100, H100 = (
    ('Tesla T4', (7, 5)),
    ('Tesla V100', (7, 0)),
    ('NVIDIA A100', (8, 0)),
    ('NVIDIA H100', (9, 0)),
)


@pytest.fixture
def gpus(monkeypatch, tmp_path, caplog):
    """Replace the machine's GPUs: ``gpus(T4, A100, driver=False, ...)``."""
    for name in ('CENTERNET_CONTAINER', 'CENTERNET_CUDA', 'CENTERNET_STACK', 'CUDA_VISIBLE_DEVICES'):
        monkeypatch.delenv(name, raising=False)
    caplog.set_level('INFO')

    def replace(*found, driver=True, cuda='10.0', broken=(), without_code=(), **variables):
        """broken: the numbers of GPUs that fail; without_code: of those that torch has no code for."""
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        path = tmp_path / 'driver'
        if driver:
            path.write_text('NVRM version')
        monkeypatch.setattr(device, 'DRIVER', str(path))
        monkeypatch.setattr(device, 'GPU_FILES', str(tmp_path / 'nvidia[0-9]*'))
        for number in range(len(found)):
            (tmp_path / f'nvidia{number}').touch()
        monkeypatch.setattr(torch.version, 'cuda', cuda)
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: bool(found))
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: len(found))
        monkeypatch.setattr(torch.cuda, 'get_device_name', lambda number: found[number][0])
        monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda number: found[number][1])

        def ones(*_, device):
            if device.index in broken:
                raise RuntimeError('CUDA error: out of memory\nmore')
            if device.index in without_code:
                raise RuntimeError('CUDA error: no kernel image is available for execution')
            return torch.zeros(1)

        monkeypatch.setattr(torch, 'ones', ones)

    return replace


def refusal(name):
    with pytest.raises(DeviceError) as caught:
        device.resolve_device(name)
    text = str(caught.value)
    assert f'device {name} is unavailable: ' in text and '--device cpu' in text and '\n' not in text
    return text


def fallback(caplog):
    """The line that ``auto`` logs when it selects the CPU, or ''."""
    caplog.clear()
    assert device.resolve_device('auto') == torch.device('cpu')
    assert len(caplog.messages) <= 1
    return ''.join(caplog.messages)


@pytest.mark.parametrize(
    'name, kind, index',
    [('auto', 'auto', None), ('cpu', 'cpu', None), ('cuda', 'cuda', None), ('cuda:12', 'cuda', 12)],
)
def test_names(name, kind, index):
    assert device.parse_device(name) == (kind, index)


@pytest.mark.parametrize(
    'name', ['', 'gpu', 'cuda:', 'cuda:x', 'cuda:-1', 'cuda:\u0661', 'cuda:0\n', 'cpu:0', 'auto:1', 'CUDA']
)
def test_unknown_names(name):
    with pytest.raises(DeviceError, match='auto, cpu, cuda or cuda:N'):
        device.parse_device(name)
    with pytest.raises(DeviceError, match='unknown device'):
        device.resolve_device(name)


def test_cpu():
    assert device.resolve_device('cpu') == torch.device('cpu')
    assert device.describe_device(torch.device('cpu'))['device_name']


@pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has a GPU')
def test_this_machine_without_a_gpu():
    assert device.resolve_device('auto') == torch.device('cpu')
    refusal('cuda')


def test_no_gpu_and_no_driver(gpus, caplog):
    gpus(driver=False)
    assert 'no NVIDIA driver' in refusal('cuda')
    assert fallback(caplog) == ''
    gpus(driver=False, CENTERNET_CONTAINER='1')
    assert 'no NVIDIA driver' in fallback(caplog)


def test_torch_without_cuda(gpus, caplog):
    gpus(cuda=None, driver=False)
    assert 'without CUDA' in refusal('cuda:0')
    assert fallback(caplog) == ''
    gpus(cuda=None)
    assert 'without CUDA' in fallback(caplog)


def test_an_image_without_cuda_ignores_gpus(gpus, caplog):
    gpus(T4, cuda='9.0.176', CENTERNET_CONTAINER='1', CENTERNET_CUDA='none')
    assert 'CUDA=none' in refusal('cuda')
    assert 'CUDA=none' in fallback(caplog)


def test_a_container_without_the_machines_gpu(gpus, caplog):
    gpus(CENTERNET_CONTAINER='1')
    for text in (refusal('cuda'), fallback(caplog)):
        assert 'NVIDIA container toolkit' in text
        assert 'COMPOSE_FILE=docker-compose.yml:docker/compose.gpu.yml' in text and '--gpus all' in text


def test_hidden_gpus(gpus, caplog):
    gpus(CUDA_VISIBLE_DEVICES='')
    assert 'CUDA_VISIBLE_DEVICES' in refusal('cuda')
    assert 'CUDA_VISIBLE_DEVICES' in fallback(caplog)


def test_a_driver_that_torch_cannot_use(gpus, caplog, monkeypatch):
    gpus()
    assert 'cannot use the NVIDIA driver' in refusal('cuda') and 'nvidia-smi' in fallback(caplog)

    def unavailable():
        warnings.warn(
            'CUDA initialization: The NVIDIA driver is too old (found version 11040). Please update',
            stacklevel=2,
        )
        return False

    monkeypatch.setattr(torch.cuda, 'is_available', unavailable)
    assert 'too old (found version 11040);' in refusal('cuda')


@pytest.mark.parametrize('name', ['auto', 'cuda', 'cuda:0'])
def test_a_usable_gpu(gpus, caplog, name):
    gpus(T4)
    assert device.resolve_device(name) == torch.device('cuda', 0)
    assert caplog.messages == []


def test_a_number_too_large(gpus):
    gpus(T4)
    assert 'only cuda:0;' in refusal('cuda:1')
    gpus(T4, V100)
    assert 'only cuda:0 to cuda:1;' in refusal('cuda:2')


def test_a_gpu_too_new_for_the_pinned_stack(gpus, caplog):
    gpus(A100)
    for text in (refusal('cuda'), refusal('cuda:0'), fallback(caplog)):
        assert 'NVIDIA A100 (compute capability 8.0)' in text and 'CUDA 10.0' in text
        assert 'modern stack' in text and 'make eval-pth' in text
    gpus(A100, CENTERNET_CONTAINER='1', CENTERNET_CUDA='10.0')
    line = 'COMPOSE_FILE=docker-compose.yml:docker/compose.gpu.yml docker compose run --rm eval-pth'
    assert 'STACK=modern ' + line in refusal('cuda')


def test_a_gpu_too_old_for_the_modern_image(gpus):
    image = dict(CENTERNET_CONTAINER='1', CENTERNET_CUDA='13.0', CENTERNET_STACK='modern')
    gpus(V100, cuda='13.0', without_code=[0], **image)
    assert 'STACK=pinned COMPOSE_FILE=' in refusal('cuda')


def test_a_gpu_that_torch_has_no_code_for(gpus, caplog):
    gpus(V100, cuda='13.0', without_code=[0])
    for text in (refusal('cuda'), fallback(caplog)):
        assert 'Tesla V100 (compute capability 7.0)' in text and 'CUDA 13.0' in text
        assert 'install a build of torch' in text


def test_a_gpu_that_fails(gpus, caplog):
    gpus(T4, broken=[0])
    for text in (refusal('cuda'), fallback(caplog)):
        assert 'Tesla T4' in text and 'out of memory' in text and 'more' not in text


def test_the_first_gpu_of_several(gpus, caplog):
    gpus(H100, T4)
    for text in (refusal('cuda'), fallback(caplog)):
        assert 'cuda:0, NVIDIA H100' in text
    assert device.resolve_device('cuda:1') == torch.device('cuda', 1)
