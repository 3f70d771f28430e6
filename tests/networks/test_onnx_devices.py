"""Which device onnxruntime gets, and what it is called in the results."""

import numpy as np
import onnxruntime
import pytest
import torch
from support.onnx_files import detector

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


@pytest.mark.parametrize('name', ['gpu', 'cuda:x', 'cpu:1', 'cuda:', ''])
def test_unknown_devices_are_refused(name):
    with pytest.raises(DeviceError, match='unknown device'):
        OnnxNetwork(detector(size=SIZE), name, 1)


def test_a_gpu_that_onnxruntime_cannot_use_is_refused():
    if 'CUDAExecutionProvider' in onnxruntime.get_available_providers():
        pytest.skip('this onnxruntime has CUDA')
    with pytest.raises(DeviceError, match='no CUDA'):
        OnnxNetwork(detector(size=SIZE), 'cuda', 1)
    assert OnnxNetwork(detector(size=SIZE), 'auto', 1).info.device == 'cpu'


def test_the_processors_name_is_recorded():
    found = OnnxNetwork(detector(size=SIZE), 'cpu', 1).info
    assert found.device_name == describe_device(torch.device('cpu'))['device_name']
    assert (found.device, found.threads) == ('cpu', 1)


@pytest.mark.parametrize('torch_has_cuda', [True, False])
def test_torch_names_the_gpu_where_it_can(torch_has_cuda, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: torch_has_cuda)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: f'the GPU {device.index}')
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (8, 0))
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: ['CUDAExecutionProvider'])
    monkeypatch.setattr(onnxruntime, 'InferenceSession', CudaSession)
    network = OnnxNetwork(detector(size=SIZE), 'cuda:1', 1)
    found = network.info
    assert found.device_name == ('the GPU 1' if torch_has_cuda else None)
    assert (found.device, found.device_type) == ('cuda:1', 'cuda')
    assert found.threads is None
    assert network(np.zeros((1, 3) + SIZE, np.float32)).hm.shape == (1, 4, 8, 12)
