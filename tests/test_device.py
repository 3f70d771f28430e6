import ctypes
import os
import subprocess
import sys

import pytest
import torch

from centernet import device
from centernet.errors import DeviceError, OptionError

SOURCE = os.path.join(os.path.dirname(__file__), os.pardir, 'src')


@pytest.fixture
def machine(monkeypatch):
    """Pretend to be on a machine: its allowed processors, siblings by processor, and files."""

    def pretend(cpus, siblings=(), **files):
        files = {path.replace('__', '/'): text for path, text in files.items()}
        for pair in siblings:
            for cpu in pair:
                files[f'sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list'] = ','.join(
                    map(str, pair)
                )
        monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(cpus), raising=False)
        monkeypatch.setattr(device, '_read', lambda path: files.get(path.lstrip('/'), ''))

    return pretend


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
def test_cores_that_may_be_kept_busy(machine, cpus, siblings, files, count):
    machine(cpus, siblings, **files)
    assert device.available_cpus() == count


def test_this_machine_has_cores():
    assert 1 <= device.available_cpus() <= os.cpu_count()


def environment_after(code, **variables):
    """Run code in a fresh interpreter that has not imported torch; returns what it prints."""
    given = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(('OMP_', 'MKL_', 'GOMP_', 'KMP_'))
    }
    given.update(variables, PYTHONPATH=SOURCE)
    run = subprocess.run(
        [sys.executable, '-c', 'import os, sys\nfrom centernet.device import *\n' + code],
        env=given,
        stdout=subprocess.PIPE,
        check=True,
    )
    return run.stdout.decode().split()


def test_threads_are_set_before_torch_is_imported():
    code = (
        'n = prepare_threads({})\nprint(n, os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"],'
        ' "torch" in sys.modules)'
    )
    assert environment_after(code.format(3)) == ['3', '3', 'PASSIVE', 'False']
    assert environment_after(code.format(''), OMP_NUM_THREADS='5', OMP_WAIT_POLICY='ACTIVE') == [
        '5',
        '5',
        'ACTIVE',
        'False',
    ]
    assert environment_after(code.format(2), OMP_NUM_THREADS='5')[:2] == ['2', '2']
    assert environment_after(code.format(''), OMP_NUM_THREADS='rubbish')[0] == str(device.available_cpus())


def test_memory_that_was_freed_stays():
    # Where blocks are returned to the system, each new one is fetched page by page: 16 MB are 4096 pages of 4
    # KB.
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


def test_no_threads_at_all():
    with pytest.raises(OptionError, match='at least 1'):
        device.prepare_threads(0)


def test_cpu():
    assert device.resolve_device('cpu') == torch.device('cpu')
    assert device.describe_device(torch.device('cpu'))['device_name']


@pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has a GPU')
def test_without_a_gpu():
    assert device.resolve_device('auto') == torch.device('cpu')
    with pytest.raises(DeviceError, match=r'cuda:0 was asked for, but .*--device cpu'):
        device.resolve_device('cuda')


def test_a_gpu_too_many(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.version, 'cuda', '10.0')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    with pytest.raises(DeviceError, match='no such GPU: cuda:2; there are cuda:0 to cuda:1'):
        device.resolve_device('cuda:2')


def test_a_gpu_that_torch_has_no_code_for(monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError('CUDA error: no kernel image is available for execution on the device\nmore')

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.version, 'cuda', '10.0')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda _: 'A100')
    monkeypatch.setattr(torch, 'ones', fail)
    with pytest.raises(
        DeviceError, match=r'cuda:0 \(A100\) cannot be used by torch .*: CUDA error: no kernel image'
    ):
        device.resolve_device('cuda')
    assert device.resolve_device('auto') == torch.device('cpu')
    assert 'using the CPU' in caplog.text


@pytest.mark.parametrize('name', ['', 'gpu', 'cuda:', 'cuda:x', 'cpu:0', 'auto:1', 'CUDA'])
def test_names_that_mean_nothing(name):
    with pytest.raises(DeviceError, match='unknown device'):
        device.resolve_device(name)
