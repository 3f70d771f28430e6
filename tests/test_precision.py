"""--precision: what is refused, how torch is set, and float16 on the sample, on a CPU."""

import json
import os

import attr
import numpy as np
import pytest
import torch

from centernet.cli import main
from centernet.coco import CocoData, read_image
from centernet.detection import InputSpec, preprocess
from centernet.kernels import layers
from centernet.kernels.precision import check_precision, to_half
from centernet.networks.checkpoint import load_model
from centernet.networks.runtimes.torch_runtime import TorchNetwork
from centernet.sample import SAMPLE_WEIGHTS, sample_folder
from centernet.system import compat
from centernet.system.errors import DeviceError
from centernet.system.precision import BF16, FP16, FP32, PRECISIONS, TF32
from centernet.verification import tolerances
from centernet.verification.detections import ComparedBatch, compare_detections
from centernet.verification.heads import compare_heads

GPU, CPU = torch.device('cuda', 0), torch.device('cpu')
WHY_NO_BF16 = layers.why_no_bf16() if compat.HAS_BF16 else f'torch {torch.__version__} has no bfloat16'
needs_bf16 = pytest.mark.skipif(WHY_NO_BF16 is not None, reason=str(WHY_NO_BF16))
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
def test_what_a_cpu_does_not_have(precision):
    with pytest.raises(DeviceError, match=f'--precision {precision}.*GPU.*--precision fp32'):
        check_precision(precision, CPU)


def test_bf16_is_for_cpus(capability):
    capability(9, 0)
    with pytest.raises(DeviceError, match=r'--precision bf16.*CPUs.*cuda:0.*--precision fp32'):
        check_precision(BF16, GPU)


@pytest.mark.skipif(compat.HAS_BF16, reason=f'torch {torch.__version__} has bfloat16')
def test_torch_1_0_has_no_bf16():
    with pytest.raises(DeviceError, match=f'torch {torch.__version__} does not support bfloat16'):
        check_precision(BF16, CPU)


@pytest.mark.skipif(not compat.HAS_BF16, reason=f'torch {torch.__version__} has no bfloat16')
def test_bf16_depends_on_the_processor_and_the_operator(monkeypatch):
    monkeypatch.setattr(layers, '_extension', None)
    with pytest.raises(DeviceError, match='compiled layers are missing'):
        check_precision(BF16, CPU)
    monkeypatch.setattr(layers, '_extension', WithoutBf16)
    with pytest.raises(DeviceError, match='AVX512_BF16'):
        check_precision(BF16, CPU)
    monkeypatch.setattr(WithoutBf16, 'has_bf16', staticmethod(lambda: True))
    check_precision(BF16, CPU)
    monkeypatch.setenv('CENTERNET_DCN', 'reference')
    with pytest.raises(DeviceError, match='CENTERNET_DCN=reference'):
        check_precision(BF16, CPU)


class WithoutBf16:
    has_bf16 = staticmethod(lambda: False)


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
    runner = TorchNetwork.of_checkpoint(loaded, CPU, SAMPLE_WEIGHTS, precision=precision)
    monkeypatch.setattr(torch.Tensor, 'to', lambda tensor, *_, **__: tensor)
    runner.info = attr.evolve(runner.info, device='cuda:0')
    for _ in range(2):
        runner.outputs(np.zeros((1, 3, 128, 128), np.float32))
    assert calls == [precision == TF32] * 2


def run_sample(precision):
    loaded = load_model(SAMPLE_WEIGHTS)
    runner = TorchNetwork.of_checkpoint(loaded, CPU, SAMPLE_WEIGHTS, precision=precision)
    images = np.random.RandomState(0).randn(2, 3, 128, 128).astype(np.float32)
    return runner, runner.outputs(images)


@needs_half_convolutions
def test_float16_changes_the_heads_a_little(monkeypatch):
    monkeypatch.setenv('CENTERNET_DCN', 'reference')  # the compiled operator has float16 on GPUs
    (runner, half), (_, full) = run_sample(FP16), run_sample(FP32)
    assert runner.info.precision == FP16
    for name, expected in full.items():
        assert half[name].dtype == torch.float32
        error = ((half[name] - expected).abs().max() / expected.abs().max()).item()
        assert 1e-5 < error < 0.02, name


@needs_bf16
def test_bf16_finds_the_same_on_the_sample(tmp_path):
    """The figures over all images, and heads and boxes over some of them."""
    found = {}
    for precision in (FP32, BF16):
        folder = tmp_path / precision
        command = ['eval-pth', '--device', 'cpu', '--no-progress', '--output', str(folder)]
        assert main(command + ['--precision', precision]) == 0
        found[precision] = json.loads((folder / 'metrics.json').read_text())
    assert found[BF16]['record']['network']['precision'] == BF16
    expected, measured = found[FP32]['metrics'], found[BF16]['metrics']
    assert measured['AP'] != expected['AP'] and abs(measured['AP'] - expected['AP']) < 0.002
    for name, value in expected.items():
        if isinstance(value, float):
            assert abs(measured[name] - value) <= tolerances.BFLOAT16.metrics, name

    batches = sample_batches(tmp_path, 64)
    heads = compare_heads(
        [batch.reference._asdict() for batch in batches], [batch.model._asdict() for batch in batches]
    )
    for name, head in heads.facts['heads'].items():
        share = head['absolute']['mean'] / head['scale']
        assert 1e-5 < share < tolerances.TABLE['bf16_heads'].limit, name
        assert head['correlation'] > 0.99
    detections = compare_detections(batches, tolerances.BFLOAT16)
    assert detections.passed, detections.checks
    assert detections.facts['mean_iou'] > 0.99
    assert not compare_detections(batches, tolerances.FLOAT32).passed


def sample_batches(folder, count):
    """Heads of the first images of the sample in torch's own layers and in bfloat16."""
    data = CocoData.load(sample_folder(str(folder)))
    runner = TorchNetwork.of_checkpoint(load_model(SAMPLE_WEIGHTS), CPU, SAMPLE_WEIGHTS, precision=BF16)
    reference = TorchNetwork.of_checkpoint(load_model(SAMPLE_WEIGHTS), CPU, SAMPLE_WEIGHTS).plain()
    batches = []
    for image_id in data.image_ids[:count]:
        image, geometry = preprocess(read_image(data.file(image_id)), InputSpec(128, 128), 1.0)
        batches.append(ComparedBatch(reference(image[None]), runner(image[None]), [geometry], [image_id]))
    return batches


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
        assert json.load(file)['record']['network']['precision'] == FP32
    with open(os.path.join(str(tmp_path), 'journal.jsonl'), encoding='utf-8') as file:
        assert json.loads(file.readline())['record']['network']['precision'] == FP32


def test_the_help_lists_every_precision(capsys):
    assert main(['eval-pth', '--help']) == 0
    assert '{' + ','.join(PRECISIONS) + '}' in capsys.readouterr().out
