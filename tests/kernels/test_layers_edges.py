"""The layers of a fused network: what is not a number or infinite, and the ends of the sigmoid."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.layer_cases import INSTRUCTION_SETS, Case, channels_last, make, method_of

from centernet.kernels import compiled, layers

if compiled.MISSING:
    pytest.skip('the compiled operator is missing: ' + compiled.MISSING, allow_module_level=True)

NAN, INFINITY = float('nan'), float('inf')


@pytest.fixture(params=INSTRUCTION_SETS, autouse=True)
def instruction_set(request):
    before = compiled._extension.instruction_set()
    if not compiled.choose_instruction_set(request.param):
        pytest.skip(f'this processor does not support {request.param}')
    yield request.param
    compiled.choose_instruction_set(before)


def kinds(tensor):
    """1 for NaN, 2 and 3 for the infinities, 0 for other numbers."""
    numbers = np.asarray(tensor)
    return np.isnan(numbers) + 2 * np.isposinf(numbers) + 3 * np.isneginf(numbers)


@pytest.mark.parametrize('kind', ['convolution', 'transposed', 'spread'])
def test_where_torch_has_them(kind):
    """Computed again by torch from the same weights, in float64, with some numbers of the input replaced."""
    torch.manual_seed(0)
    image = torch.randn(1, 19, 11, 9)
    for channel, value in ((0, NAN), (1, INFINITY), (2, -INFINITY)):
        image[0, channel, 5, 2 * channel] = value
    for relu in (False, True):
        if kind == 'convolution':
            weight, bias = torch.randn(27, 19, 3, 3), torch.randn(27)
            layer = layers.Convolution(weight, bias, 2, (1, 1), relu)
            expected = F.conv2d(image.double(), weight.double(), bias.double(), 2, 1)
        else:
            groups = 19 if kind == 'spread' else 1
            weight = torch.randn(19, 19 // groups, 4, 4)
            layer = layers.Spread(weight, 2, (1, 1), relu)
            if groups == 1:
                layer = layers.TransposedConvolution(weight, torch.zeros(19), 2, (1, 1), relu)
            expected = F.conv_transpose2d(image.double(), weight.double(), None, 2, 1, groups=groups)
        rest = torch.randn(*expected.shape)
        rest[0, 0, 0, 0], rest[0, 1, 0, 0], rest[0, 2, 0, 0] = NAN, INFINITY, -INFINITY
        expected = channels_last(F.relu(expected + rest.double()) if relu else expected + rest.double())
        found = layer(channels_last(image), channels_last(rest))
        assert np.array_equal(kinds(found), kinds(expected))
        assert set(np.unique(kinds(found))) >= {0, 1}


@pytest.mark.parametrize('value', [NAN, INFINITY, -INFINITY])
def test_winograds_method_spreads_them_over_its_tiles_only(value):
    problem = make(Case('convolution', channels=16, outputs=5, size=(16, 16), relu=True))
    assert method_of(problem.layer)[0]
    problem.inputs[0][0, 6, 6, 3] = value
    found = problem.layer(*problem.inputs).numpy()[0]
    if value != value:
        assert np.isnan(found[5:8, 5:8]).all(), 'ReLU keeps NaN'
    assert not np.isfinite(found[5:8, 5:8]).all()
    tiles = np.zeros((16, 16), bool)
    tiles[4:8, 4:8] = True  # of 4 x 4 output pixels; those that see the pixel are in one
    expected = problem.expected.numpy()[0][~tiles]
    assert np.abs(found[~tiles] - expected).max() < 1e-5 * np.abs(expected).max()


def test_pools():
    torch.manual_seed(0)
    image = torch.randn(2, 37, 9, 11)
    image[torch.rand_like(image) < 0.1] = NAN
    image[torch.rand_like(image) < 0.1] = -INFINITY
    image[torch.rand_like(image) < 0.02] = INFINITY
    image[0, 0] = -INFINITY
    found = layers.MaxPool((3, 2), 2, (1, 1))(channels_last(image)).numpy()
    # not by torch: the maximum of a window of -inf is a finite number in torch 1.0.0
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), 'constant', constant_values=-np.inf)
    taps = [padded[:, :, y : y + 9 : 2, x : x + 11 : 2] for y in range(3) for x in range(2)]
    expected = np.max(taps, 0).transpose(0, 2, 3, 1)
    assert np.array_equal(kinds(found), kinds(expected))
    number = ~np.isnan(expected)
    assert np.array_equal(found[number], expected[number])


def sigmoid(logits):
    """The layer's sigmoid: a kernel of one weight of 1 over an image of ones that samples its own pixels."""
    predicted = torch.zeros(1, 1, len(logits), 3)
    predicted[0, 0, :, 2] = logits
    one = torch.ones(1, 1, 1, 1)
    layer = layers.DeformableConvolution(one, torch.zeros(1), 1, (0, 0), 1, 1)
    return layer(torch.ones(1, 1, len(logits), 1), predicted).view(-1)


def test_sigmoid():
    extremes = [0.0, 1e-30, 1e-45, 88.8, 1e30, 3.4e38, INFINITY]
    logits = torch.cat([torch.linspace(-100, 100, 4001), torch.randn(4000) * 3, torch.tensor(extremes)])
    logits = torch.cat([logits, -logits])
    found, expected = sigmoid(logits).double(), torch.sigmoid(logits.double())
    assert (found - expected).abs().max() < 2e-7
    small = (logits > -80) & (logits < 0)
    assert (found[small] / expected[small] - 1).abs().max() < 5e-7
    assert found.min() >= 0 and found.max() <= 1


def test_sigmoid_of_every_nan():
    """Quiet and signalling, of both signs, with all kinds of payloads."""
    bits = [0x7FC00000, 0xFFC00000, 0x7FC00001, 0xFFC00001, 0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF]
    bits += np.random.RandomState(0).randint(0x7F800001, 0x7FFFFFFF, 200).tolist()
    found = sigmoid(torch.from_numpy(np.array(bits, np.uint32).view(np.float32)))
    assert np.isnan(found.numpy()).all()


@pytest.mark.parametrize('value', [NAN, INFINITY])
def test_pixels_that_are_no_numbers(value):
    problem = make(Case('deformable', 1, 16, 5, (9, 8), (3, 3), reach=0.0))
    problem.inputs[0][0, 4, 4, 3] = value
    found = kinds(problem.layer(*problem.inputs))[0]
    assert (found[3:6, 3:6] == 1).all() if value != value else (found[3:6, 3:6] != 0).all()
    near = np.zeros((9, 8), bool)
    near[2:7, 2:7] = True  # the four neighbours of a place include one that weighs 0, which gives NaN
    assert (found[~near] == 0).all()


@pytest.mark.parametrize('value', [NAN, INFINITY, -INFINITY, 1e20, -(2.0**31)])
def test_offsets_out_of_reach_count_as_zero(value):
    problem = make(Case('deformable', 1, 16, 5, (6, 7), (1, 1), 1, (0, 0), reach=0.0))
    expected = problem.layer(*problem.inputs)
    bias = problem.layer(torch.zeros_like(problem.inputs[0]), problem.inputs[1])
    problem.inputs[1][0, 2, 3, 0] = problem.inputs[1][0, 4, 5, 1] = value
    found = problem.layer(*problem.inputs)
    for at in ((0, 2, 3), (0, 4, 5)):
        assert torch.equal(found[at], bias[at])
        found[at] = expected[at]
    assert torch.equal(found, expected)
