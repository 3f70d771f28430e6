"""Which device onnxruntime gets, and what it is called in the results."""

import numpy as np
import onnxruntime
import pytest
import torch
from support.onnx_files import detector

from centernet.networks.runtimes.onnx_devices import device_name
from centernet.networks.runtimes.onnx_runtime import OnnxNetwork
from centernet.system.device import describe_device
from centernet.system.errors import DeviceError

SIZE = (32, 48)


class CudaSession(onnxruntime.InferenceSession):
    """Runs on the CPU and claims to run on a GPU."""

    def __init__(self, model, options, providers):
        (name, chosen), cpu = providers
        assert (name, chosen.pop('device_id'), cpu) == ('CUDAExecutionProvider', 1, 'CPUExecutionProvider')
        # onnxruntime 1.7, of the pinned stack, has no such option, and refuses unknown ones
        assert chosen == ({} if onnxruntime.__version__.startswith('1.7.') else {'use_tf32': 0})
        super().__init__(model, options, providers=providers[1:])

    def get_providers(self):
        return ['CUDAExecutionProvider', 'CPUExecutionProvider']


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """A command ``nvidia-smi`` that knows two GPUs, by index and the second by its UUID."""
    (tmp_path / 'nvidia-smi').write_text(
        '#!/bin/sh\nfor word; do case "$word" in --id=*) id=${word#--id=};; esac; done\n'
        'case "$id" in 0) echo Tesla T4;; 1|GPU-1234) echo NVIDIA A100;; *) exit 6;; esac\n'
    )
    (tmp_path / 'nvidia-smi').chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)


@pytest.mark.parametrize('name', ['gpu', 'cuda:x', 'cpu:1', 'cuda:', ''])
def test_unknown_devices_are_refused(name):
    with pytest.raises(DeviceError, match='unknown device'):
        OnnxNetwork(detector(size=SIZE), name, 1)


def test_a_gpu_that_onnxruntime_cannot_use_is_refused():
    if 'CUDAExecutionProvider' in onnxruntime.get_available_providers():
        pytest.skip('this onnxruntime has CUDA')
    with pytest.raises(DeviceError, match='without CUDA'):
        OnnxNetwork(detector(size=SIZE), 'cuda', 1)
    assert OnnxNetwork(detector(size=SIZE), 'auto', 1).info.device == 'cpu'


def test_the_processors_name_is_recorded():
    found = OnnxNetwork(detector(size=SIZE), 'cpu', 1).info
    assert found.device_name == describe_device(torch.device('cpu'))['device_name']
    assert (found.device, found.threads) == ('cpu', 1)


def test_the_gpus_name_is_recorded(nvidia_smi, monkeypatch):
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: ['CUDAExecutionProvider'])
    monkeypatch.setattr(onnxruntime, 'InferenceSession', CudaSession)
    network = OnnxNetwork(detector(size=SIZE), 'cuda:1', 1)
    found = network.info
    assert (found.device, found.device_name, found.device_type) == ('cuda:1', 'NVIDIA A100', 'cuda')
    assert found.threads is None
    assert network(np.zeros((1, 3) + SIZE, np.float32)).hm.shape == (1, 4, 8, 12)


def test_torch_names_the_gpu_where_it_can(nvidia_smi, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda number: f'GPU {number} of torch')
    assert device_name('cuda:0') == 'GPU 0 of torch'
    assert device_name('cuda:1') == 'NVIDIA A100'


@pytest.mark.parametrize(
    'visible, device, expected',
    [
        (None, 'cuda:0', 'Tesla T4'),
        ('1', 'cuda:0', 'NVIDIA A100'),
        ('GPU-1234,0', 'cuda:0', 'NVIDIA A100'),
        ('GPU-1234,0', 'cuda:1', 'Tesla T4'),
        (None, 'cuda:2', 'unknown'),
    ],
)
def test_the_gpu_is_the_one_that_cuda_sees(visible, device, expected, nvidia_smi, monkeypatch):
    if visible:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    assert device_name(device) == expected


def test_a_gpu_without_a_name_is_unknown(nvidia_smi, monkeypatch, tmp_path):
    (tmp_path / 'nvidia-smi').unlink()
    monkeypatch.setenv('PATH', str(tmp_path))
    assert device_name('cuda:0') == 'unknown'
