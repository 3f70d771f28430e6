"""The layers of a prepared network: what is not a number or infinite, and the ends of the sigmoid."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.layer_cases import INSTRUCTION_SETS, Case, channels_last, make, method_of

from centernet.dcn import compiled, layers

if compiled.MISSING:
    pytest.skip('the compiled operator is missing: ' + compiled.MISSING, allow_module_level=True)

NAN, INFINITY = float('nan'), float('inf')


@pytest.fixture(params=INSTRUCTION_SETS, autouse=True)
def instruction_set(request):
    before = compiled.description()
    if not compiled.choose_instruction_set(request.param):
        pytest.skip(f'this processor does not support {request.param}')
    yield request.param
    assert any(compiled.choose_instruction_set(name) for name in INSTRUCTION_SETS if f'({name})' in before)


# Not a number, and infinite


def kinds(tensor):
    """1 for NaN, 2 and 3 for the infinities, 0 for other numbers."""
    numbers = np.asarray(tensor)
    return np.isnan(numbers) + 2 * np.isposinf(numbers) + 3 * np.isneginf(numbers)


@pytest.mark.parametrize('relu', [False, True])
@pytest.mark.parametrize(
    'case',
    [
        Case('convolution', 2, 19, 27, (11, 9), (3, 3), 2, residual=True),
        Case('convolution', 1, 3, 16, (11, 9), (7, 7), 1, (3, 3)),
        Case('transposed', 1, 19, 5, (7, 6), stride=2),
        Case('spread', 1, 19, 19, (7, 6), stride=2, residual=True),
    ],
)
def test_where_torch_has_them(case, relu):
    """Computed again by torch from the same weights, in float64, with some numbers of the input replaced."""
    torch.manual_seed(0)
    rows = case.size[0] // 2
    image = torch.randn(case.batch, case.channels, *case.size)
    for channel, value in ((0, NAN), (1, INFINITY), (2, -INFINITY)):
        image[0, channel, rows, 2 * channel] = value
    weight, rest = torch.randn(case.outputs, case.channels, *case.kernel), None
    if case.kind == 'convolution':
        bias = torch.randn(case.outputs)
        layer = layers.Convolution(weight, bias, case.stride, case.padding, relu)
        expected = F.conv2d(image.double(), weight.double(), bias.double(), case.stride, case.padding)
    else:
        groups = case.channels if case.kind == 'spread' else 1
        weight = torch.randn(case.channels, case.outputs // groups, 4, 4)
        layer = layers.Spread(weight, 2, (1, 1), relu)
        if groups == 1:
            layer = layers.TransposedConvolution(weight, torch.zeros(case.outputs), 2, (1, 1), relu)
        expected = F.conv_transpose2d(image.double(), weight.double(), None, 2, 1, groups=groups)
    if case.residual:
        rest = torch.randn(*expected.shape)
        rest[0, 0, 0, 0], rest[0, 1, 0, 0], rest[0, 2, 0, 0] = NAN, INFINITY, -INFINITY
        expected = expected + rest.double()
    expected = channels_last(F.relu(expected) if relu else expected)
    found = layer(*[channels_last(each) for each in (image, rest) if each is not None])
    assert np.array_equal(kinds(found), kinds(expected))
    assert set(np.unique(kinds(found))) >= {0, 1}


@pytest.mark.parametrize('relu', [False, True])
@pytest.mark.parametrize('value', [NAN, INFINITY, -INFINITY])
def test_winograds_method_spreads_them_over_its_tiles_only(value, relu):
    problem = make(Case('convolution', channels=16, outputs=5, size=(16, 16), relu=relu))
    assert method_of(problem.layer.packed)[0]
    problem.inputs[0][0, 6, 6, 3] = value
    found = problem.layer(*problem.inputs).numpy()[0]
    if value != value:
        assert np.isnan(found[5:8, 5:8]).all(), 'ReLU keeps NaN'
    assert not np.isfinite(found[5:8, 5:8]).all()
    tiles = np.zeros((16, 16), bool)
    tiles[4:8, 4:8] = True  # of 4 x 4 output pixels; those that see the pixel are in one
    assert np.isfinite(found[~tiles]).all()
    expected = problem.expected.numpy()[0][~tiles]
    assert np.abs(found[~tiles] - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize('channels', [3, 16, 37])
def test_pools(channels):
    torch.manual_seed(0)
    image = torch.randn(2, channels, 9, 11)
    image[torch.rand_like(image) < 0.1] = NAN
    image[torch.rand_like(image) < 0.1] = -INFINITY
    image[torch.rand_like(image) < 0.02] = INFINITY
    image[0, 0] = -INFINITY
    found = layers.MaxPool((3, 2), 2, (1, 1), relu=False)(channels_last(image)).numpy()
    # not by torch: the maximum of a window of -inf is a finite number in torch 1.0.0
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), 'constant', constant_values=-np.inf)
    taps = [padded[:, :, y : y + 9 : 2, x : x + 11 : 2] for y in range(3) for x in range(2)]
    expected = np.max(taps, 0).transpose(0, 2, 3, 1)
    assert np.array_equal(kinds(found), kinds(expected))
    number = ~np.isnan(expected)
    assert np.array_equal(found[number], expected[number])


# The mask of the deformable convolution


def sigmoid(logits):
    """The layer's sigmoid: a kernel of one weight of 1 over an image of ones that samples its own pixels."""
    predicted = torch.zeros(1, 1, len(logits), 3)
    predicted[0, 0, :, 2] = logits
    one = torch.ones(1, 1, 1, 1)
    layer = layers.DeformableConvolution(one, torch.zeros(1), 1, (0, 0), 1, 1)
    return layer(torch.ones(1, 1, len(logits), 1), predicted).view(-1)


def test_sigmoid():
    logits = torch.cat([torch.linspace(-100, 100, 4001), torch.randn(4000) * 3])
    extremes = [
        0.0,
        -0.0,
        1e-30,
        -1e-30,
        1e-45,
        88.8,
        -88.8,
        1e30,
        -1e30,
        3.4e38,
        -3.4e38,
        INFINITY,
        -INFINITY,
    ]
    logits = torch.cat([logits, torch.tensor(extremes)])
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


@pytest.mark.parametrize('value', [NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize('relu', [False, True])
def test_pixels_that_are_no_numbers(value, relu):
    case = Case('deformable', 1, 16, 5, (9, 8), (3, 3), reach=0.0, relu=relu)
    problem = make(case)
    problem.inputs[0][0, 4, 4, 3] = value
    found = kinds(problem.layer(*problem.inputs))[0]
    seen = np.zeros((9, 8), bool)
    seen[3:6, 3:6] = True
    if value != value:
        assert (found[seen] == 1).all()
    else:
        # a neighbour that weighs 0 gives NaN, as in the reference
        assert (found[seen] != 0).sum() >= (found[seen].size / 3 if relu else found[seen].size)
    near = np.zeros((9, 8), bool)
    near[2:7, 2:7] = True  # the four neighbours of a place include one that weighs 0
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
