"""Every architecture, fused for inference on the CPU, against the network itself in float64."""

import copy
import gc
from collections import Counter

import numpy as np
import pytest
import torch
from support.random_weights import save_checkpoint

from centernet.detection import InputSpec, preprocess
from centernet.kernels import compiled, layers
from centernet.networks.architectures import create_model
from centernet.networks.architectures.fuse import fuse
from centernet.networks.architectures.registry import ARCHITECTURES, divisor
from centernet.networks.checkpoint import load_model
from centernet.sample.scene import draw_scene

pytestmark = pytest.mark.filterwarnings('ignore:nn.Upsample is deprecated')  # of hourglass, by torch 1.0.0

if compiled.MISSING:
    pytest.skip('the compiled operator is missing: ' + compiled.MISSING, allow_module_level=True)

HEADS = {'hm': 3, 'wh': 2, 'reg': 2}
LARGE = ('hourglass', 'res_101', 'res_152', 'resdcn_101', 'resdcn_152')
SLOW = ('res_34', 'res_50', 'resdcn_34', 'resdcn_50')


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield
    gc.collect()  # of hundreds of megabytes


def build(folder, arch):
    """A network whose norms have the statistics of pictures, and whose offsets are not zero."""
    return load_model(save_checkpoint(folder / f'{arch}.pth', arch, HEADS)).model.eval()


def pictures(count, height, width):
    """Painted scenes, which no network has its statistics from."""
    scenes = [draw_scene([7, number]).image for number in range(count)]
    return torch.from_numpy(np.stack([preprocess(each, InputSpec(height, width))[0] for each in scenes]))


def root_mean_square(tensor):
    return tensor.double().pow(2).mean().sqrt().item()


def mark_of(arch):
    return [pytest.mark.networks] if arch in LARGE else [pytest.mark.slow] if arch in SLOW else []


@pytest.mark.parametrize('arch', [pytest.param(arch, marks=mark_of(arch)) for arch in ARCHITECTURES])
def test_as_accurate_as_the_network(arch, tmp_path, monkeypatch):
    """One fused network takes images of several sizes, and any number of them."""
    model = build(tmp_path, arch)
    fused, truth = fuse(model), copy.deepcopy(model).double()
    unit = max(64, divisor(arch))  # in maps of one pixel, norms can magnify rounding without limit
    for shape in ((2, unit, 2 * unit), (1, 3 * unit, unit), (3, unit, unit)):
        images = pictures(*shape)
        assert images.shape == (shape[0], 3, *shape[1:])
        found, plain = fused(images), model(images)
        with monkeypatch.context() as context:
            context.setenv('CENTERNET_DCN', 'reference')  # independent of the compiled code
            expected = truth(images.double())
        assert list(found) == list(HEADS)
        for head, value in expected.items():
            assert found[head].shape == value.shape and found[head].dtype == torch.float32
            scale = root_mean_square(value - value.mean())
            error = root_mean_square(found[head].double() - value)
            own = root_mean_square(plain[head].double() - value)
            # Winograd's method rounds four times as coarsely as sums of products
            assert error <= 4 * own + 1e-7 * scale, (head, shape)
            assert error < 0.01 * scale, 'the network itself is too inaccurate for this test'


def test_what_remains_of_dla_34():
    """Counted by hand: no norm, no sum and no ReLU of its own."""
    fused = fuse(create_model('dla_34', HEADS).eval())
    kinds = Counter(type(step[0]).__name__ for step in fused.steps)
    assert kinds == {
        'Convolution': 37 + 16 + 6,  # of the base, of offsets and masks, of heads
        'DeformableConvolution': 16,
        'Spread': 8,
        'MaxPool': 6,
        'function': 6,  # concatenations
    }


@pytest.mark.parametrize('arch', ['res_18', 'dlav0_34'])
def test_no_norm_sum_or_relu_of_its_own(arch):
    kinds = {type(step[0]).__name__ for step in fuse(create_model(arch, HEADS).eval()).steps}
    assert kinds <= {'Convolution', 'TransposedConvolution', 'Spread', 'MaxPool', 'function'}


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """dla_tiny, images, and its outputs."""
    with torch.no_grad():
        model, images = build(tmp_path_factory.mktemp('tiny'), 'dla_tiny'), torch.randn(2, 3, 64, 96)
        return model, images, model(images)


def test_the_network_stays_as_it_is(tiny):
    model, images, before = tiny
    weights = copy.deepcopy(model.state_dict())
    first = fuse(model)(images)
    assert not any('forward' in vars(module) for module in model.modules())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, before[head]) for head, value in model(images).items())
    assert all(torch.equal(value, first[head]) for head, value in fuse(model)(images).items())


def test_the_network_stays_as_it_is_if_it_cannot_be_fused(tiny):
    model, images, _ = tiny
    model = copy.deepcopy(model)
    model.wh[2] = torch.nn.Sequential(torch.nn.Sigmoid())
    before = model(images)
    assert fuse(model) is None
    assert not any('forward' in vars(module) for module in model.modules())
    assert all(torch.equal(value, before[head]) for head, value in model(images).items())


def test_it_keeps_its_own_weights(tiny):
    model, images, _ = tiny
    model = copy.deepcopy(model)
    fused = fuse(model)
    before = fused(images)
    for parameter in list(model.parameters()) + list(model.buffers()):
        parameter.data.fill_(0.5)
    assert all(torch.equal(value, before[head]) for head, value in fused(images).items())


def test_the_images_stay_as_they_are(tiny):
    model, images, _ = tiny
    before = images.clone()
    fused = fuse(model)
    found = fused(images)
    assert torch.equal(images, before)
    again = fused(torch.randn(1, 3, 32, 32)), fused(images)
    assert all(torch.equal(again[1][head], value) for head, value in found.items())


def test_an_image_gives_the_same_bits_alone_and_in_a_batch(tiny):
    model, images, _ = tiny
    fused = fuse(model)
    together = fused(images)
    for number in range(2):
        alone = fused(images[number : number + 1])
        assert all(torch.equal(value[0], together[head][number]) for head, value in alone.items())


def test_it_can_be_asked_for_the_reference(tiny, monkeypatch):
    monkeypatch.setenv('CENTERNET_DCN', 'reference')
    assert fuse(tiny[0]) is None


@pytest.mark.skipif(layers.why_no_bf16() is not None, reason=f'bfloat16: {layers.why_no_bf16()}')
def test_bfloat16(tiny):
    model, images, expected = tiny
    for head, value in fuse(model, bf16=True)(images).items():
        error = root_mean_square(value - expected[head]) / root_mean_square(
            expected[head] - expected[head].mean()
        )
        assert 1e-4 < error < 0.1, head
