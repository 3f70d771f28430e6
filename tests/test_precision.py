"""--precision: what is refused, how torch is set, and float16 on the sample, on a CPU."""

import json
import os

import numpy as np
import pytest
import torch

from centernet import compat
from centernet.checkpoint import load_model
from centernet.cli import main
from centernet.errors import DeviceError
from centernet.precision import FP16, FP32, PRECISIONS, TF32, check_precision, to_half
from centernet.runners.torch_runner import TorchRunner
from centernet.sample import SAMPLE_WEIGHTS

GPU, CPU = torch.device('cuda', 0), torch.device('cpu')
needs_half_convolutions = pytest.mark.skipif(
    compat.TORCH_VERSION < (2, 0), reason=f'torch {torch.__version__} has no float16 convolutions on CPUs'
)


@pytest.fixture
def capability(monkeypatch):
    """Replace the GPU's compute capability."""

    def replace(major, minor):
        monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (major, minor))
        monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: 'a GPU')

    return replace


def test_what_every_gpu_has(capability):
    capability(3, 5)
    for precision, device in ((FP32, CPU), (FP32, GPU), (FP16, GPU)):
        check_precision(precision, device)


@pytest.mark.parametrize('precision', [TF32, FP16])
def test_a_cpu_has_fp32_alone(precision):
    with pytest.raises(DeviceError, match=f'--precision {precision}.*GPU.*--precision fp32'):
        check_precision(precision, CPU)


def test_tf32_depends_on_the_gpu(capability, monkeypatch):
    monkeypatch.setattr(compat, 'HAS_TF32', True)
    capability(8, 0)
    check_precision(TF32, GPU)
    capability(7, 5)
    with pytest.raises(DeviceError, match=r'a GPU, has compute capability 7\.5.*8\.0'):
        check_precision(TF32, GPU)


def test_tf32_depends_on_torch(capability, monkeypatch):
    monkeypatch.setattr(compat, 'HAS_TF32', False)
    capability(8, 0)
    with pytest.raises(DeviceError, match='does not support TF32'):
        check_precision(TF32, GPU)


def test_the_command_refuses_it(tmp_path, capsys):
    command = ['eval-pth', '--precision', 'fp16', '--device', 'cpu', '--output', str(tmp_path / 'out')]
    assert main(command) == 2
    assert '--precision fp16 is unavailable' in capsys.readouterr().err
    assert not (tmp_path / 'out' / 'journal.jsonl').exists()


@pytest.mark.skipif(not compat.HAS_TF32, reason=f'torch {torch.__version__} has no setting for TF32')
def test_convolutions_and_products_are_set_alike():
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, matmul.allow_fp16_reduced_precision_reduction
    try:
        for tf32 in (True, False):
            compat.set_gpu_products(tf32)
            assert (cudnn.allow_tf32, matmul.allow_tf32) == (tf32, tf32)
            assert not matmul.allow_fp16_reduced_precision_reduction
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, matmul.allow_fp16_reduced_precision_reduction = before


@pytest.mark.parametrize('precision', [FP32, TF32])
def test_the_runner_sets_it_for_every_call(precision, monkeypatch):
    """A fake device: tensors stay where they are, so that a machine without a GPU takes the GPU's branch."""
    calls = []
    monkeypatch.setattr(compat, 'set_gpu_products', lambda tf32: calls.append(tf32))
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda: None)
    monkeypatch.setattr(torch.cuda, 'device', lambda device: compat.contextlib.suppress())
    loaded = load_model(SAMPLE_WEIGHTS)
    runner = TorchRunner.of_checkpoint(loaded, CPU, SAMPLE_WEIGHTS, precision=precision)

    class Device:
        type = 'cuda'

    monkeypatch.setattr(torch.Tensor, 'to', lambda tensor, *_, **__: tensor)
    runner.device = Device()
    for _ in range(2):
        runner.outputs(np.zeros((1, 3, 128, 128), np.float32))
    assert calls == [precision == TF32] * 2


def run_sample(precision):
    loaded = load_model(SAMPLE_WEIGHTS)
    runner = TorchRunner.of_checkpoint(loaded, CPU, SAMPLE_WEIGHTS, precision=precision)
    images = np.random.RandomState(0).randn(2, 3, 128, 128).astype(np.float32)
    return runner, runner.outputs(images)


@needs_half_convolutions
def test_float16_changes_the_heads_a_little(monkeypatch):
    monkeypatch.setenv('CENTERNET_DCN', 'reference')  # the compiled operator has float16 on GPUs
    (runner, half), (_, full) = run_sample(FP16), run_sample(FP32)
    assert runner.identity()['precision'] == FP16
    for name, expected in full.items():
        assert half[name].dtype == torch.float32
        error = ((half[name] - expected).abs().max() / expected.abs().max()).item()
        assert 1e-5 < error < 0.02, name


def test_batch_normalization_stays_in_float32():
    model = to_half(load_model(SAMPLE_WEIGHTS).model)
    types = {
        type(module).__name__: {value.dtype for value in module.parameters(recurse=False)}
        for module in model.modules()
    }
    assert types['BatchNorm2d'] == {torch.float32}
    assert types['Conv2d'] == types['DCN'] == {torch.float16}


def test_the_precision_is_recorded_and_part_of_what_resume_compares(tmp_path):
    command = ['eval-pth', '--limit', '2', '--no-progress', '--device', 'cpu', '--output', str(tmp_path)]
    assert main(command) == 0
    with open(os.path.join(str(tmp_path), 'metrics.json'), encoding='utf-8') as file:
        assert json.load(file)['network']['precision'] == FP32
    with open(os.path.join(str(tmp_path), 'journal.jsonl'), encoding='utf-8') as file:
        assert json.loads(file.readline())['fingerprint']['network']['precision'] == FP32


def test_the_help_lists_every_precision(capsys):
    assert main(['eval-pth', '--help']) == 0
    assert '{' + ','.join(PRECISIONS) + '}' in capsys.readouterr().out
