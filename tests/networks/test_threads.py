import ctypes
import glob
import os

import numpy as np
import pytest
import torch

from centernet.networks.architectures import create_model
from centernet.networks.runtimes.torch_runtime import TorchNetwork
from centernet.system import compat


@pytest.fixture
def threads_afterwards():
    before = torch.get_num_threads()
    yield
    compat.set_threads(before)


def openmp_threads():
    """Return the setting of the OpenMP runtime that torch bundles."""
    libraries = glob.glob(os.path.join(os.path.dirname(torch.__file__), 'lib', 'libgomp*'))
    if not libraries:
        pytest.skip('this torch does not bundle libgomp')
    return ctypes.CDLL(libraries[0]).omp_get_max_threads()


def test_the_number_reaches_the_convolutions(threads_afterwards):
    for threads in (1, 3, 2):
        compat.set_threads(threads)
        assert openmp_threads() == threads


def test_the_network_uses_and_records_its_number(threads_afterwards):
    heads = {'hm': 2, 'wh': 2, 'reg': 2}
    model = create_model('dla_tiny', heads)
    for threads in (3, 2):
        network = TorchNetwork(model, torch.device('cpu'), heads, threads)
        network(np.zeros((1, 3, 32, 32), np.float32))
        assert openmp_threads() == threads
        assert network.info.threads == threads
    assert TorchNetwork(model, torch.device('cpu'), heads).info.threads is None


@pytest.mark.parametrize('arch', ['dla_tiny', 'res_18', 'resdcn_18'])
def test_the_model_prepared_for_the_cpu_is_equivalent(arch):
    torch.manual_seed(5)
    model = create_model(arch, {'hm': 5, 'wh': 2, 'reg': 2}).eval()
    for parameter in model.parameters():  # no offset may be 0
        parameter.data.uniform_(-0.05, 0.06)
    names = list(model.state_dict())
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = {name: head.clone() for name, head in model(images).items()}
        fast = compat.prepare_for_cpu(model)
        found, again = fast(images), model(images)
    for name, head in expected.items():
        assert found[name].shape == head.shape
        assert (found[name] - head).abs().max() < 1e-5 * head.abs().max()
        assert (again[name] - head).abs().max() < 1e-5 * head.abs().max()
    assert list(fast.state_dict()) == names
