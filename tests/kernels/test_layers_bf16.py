"""Layers of a fused network in bfloat16: the factors of products are rounded, and sums are in float32."""

import numpy as np
import pytest
import torch
from support.layer_cases import Case, channels_last, directly, make, method_of, name_of, to_bfloat16

from centernet.kernels import compiled, layers
from centernet.system import compat

WHY_NOT = layers.why_no_bf16()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=f'bfloat16: {WHY_NOT}')

# Sums of the same products, so only their rounding to float32 differs; of the sum of magnitudes at each place
ROUNDING = 1e-6
# Of the largest sum of magnitudes: factors that are sampled or, for Winograd's method, transformed before
# they are rounded have no exact counterpart. bfloat16 rounds by up to 2e-3, and transforming back adds up to
# several times that.
SAMPLED, TRANSFORMED = 1e-3, 6e-3

DIRECT = [
    Case('convolution', 3, 20, 27, (23, 17), (3, 3), 2, (1, 0), residual=True, relu=True),
    Case('convolution', 2, 2, 33, (19, 8), (7, 7), 1, (3, 3)),
    Case('convolution', 2, 80, 80, (5, 13), (1, 1), 1, (0, 0), residual=True),
    Case('convolution', 1, 34, 16, (9, 1), (3, 1), 1, (2, 0), relu=True),
    Case('convolution', 1, 6, 3, (1, 1), (3, 3)),
    Case('transposed', 2, 30, 19, (9, 14), stride=2, padding=(1, 1), residual=True, relu=True),
    Case('transposed', 1, 64, 35, (6, 5), stride=2, padding=(0, 0)),
]
WINOGRAD = [
    Case('convolution', 2, 48, 80, (21, 30), residual=True, relu=True),
    Case('convolution', 1, 16, 3, (1, 1)),
    Case('convolution', 3, 128, 35, (9, 5), padding=(1, 0)),
]
DEFORMABLE = [
    Case('deformable', 2, 48, 35, (23, 19), relu=True),
    Case('deformable', 3, 130, 80, (17, 13), (3, 2), 2, (1, 0), dilation=2, groups=2),
]


@pytest.fixture(autouse=True)
def small_layers_too(monkeypatch):
    """Let minimal filtering round the factors of layers that are too small to gain from it, too."""
    monkeypatch.setattr(layers, '_EXACT_WINOGRAD_LIMIT', 0)


def test_filtering_of_small_layers_is_exact(monkeypatch):
    monkeypatch.undo()
    weight, bias = torch.randn(32, 32, 3, 3), torch.randn(32)
    exact, rounded = (layers.Convolution(weight, bias, 1, (1, 1), bf16=bf16) for bf16 in (False, True))
    assert torch.equal(exact.parts[0][0], rounded.parts[0][0])
    image = torch.randn(1, 9, 9, 32)
    assert torch.equal(exact(image), rounded(image))
    large, small = (
        layers.Convolution(torch.randn(k, 256, 3, 3), torch.randn(k), 1, (1, 1), bf16=True) for k in (96, 16)
    )
    assert large.parts[0][0].numel() < 36 * 256 * 96  # two factors in the place of a number
    assert small.parts[0][0].numel() > 36 * 256 * 16


@pytest.fixture(autouse=True)
def same_threads_afterwards():
    threads = torch.get_num_threads()
    yield
    compat.set_threads(threads)


def in_bf16(case):
    return make(case._replace(bf16=True))


def errors(problem):
    return (problem.layer(*problem.inputs).double() - problem.expected).abs()


def test_rounding_to_bfloat16():
    """What the tests below round with, against numbers worked out by hand: 8 bits, ties to even."""
    values = [1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-9]
    expected = [1, 1 + 2**-6, 1 + 2**-7, -1]
    assert to_bfloat16(torch.tensor(values)).tolist() == expected
    if compat.HAS_BF16:
        numbers = torch.randn(1000)
        assert torch.equal(to_bfloat16(numbers), numbers.to(torch.bfloat16).float())


@pytest.mark.parametrize('case', DIRECT, ids=name_of)
def test_products_of_rounded_factors(case):
    with directly():
        problem = in_bf16(case)
    assert method_of(problem.layer) == (False, True)
    assert (errors(problem) <= ROUNDING * problem.magnitude).all()


@pytest.mark.parametrize('case', WINOGRAD + DEFORMABLE, ids=name_of)
def test_rounded_after_a_transformation_or_sampling(case):
    problem = in_bf16(case)
    assert method_of(problem.layer) == (case in WINOGRAD, True)
    error = (errors(problem).max() / problem.magnitude.max()).item()
    assert 1e-5 < error < (TRANSFORMED if case in WINOGRAD else SAMPLED)  # in float32 it is below 1e-6


@pytest.mark.parametrize('kernel, padding', [((3, 3), (1, 1)), ((3, 2), (1, 0))])
def test_a_deformable_convolution_that_moves_nothing_is_a_convolution(kernel, padding):
    """With offsets of 0 and masks of 1, what is sampled are the pixels, and rounded once."""
    case = Case('convolution', 2, 48, 35, (23, 19), kernel, 2, padding, relu=True)
    problem = in_bf16(case)
    torch.manual_seed(0)
    torch.randn(case.batch, case.channels, *case.size)  # the weights come after the image
    weight, bias = torch.randn(case.outputs, case.channels, *kernel), torch.randn(case.outputs)
    layer = layers.DeformableConvolution(weight, bias, 2, padding, 1, 1, relu=True, bf16=True)
    taps = kernel[0] * kernel[1]
    predicted = torch.zeros(*problem.expected.shape[:3], 3 * taps)
    predicted[..., 2 * taps :] = 100
    error = (layer(problem.inputs[0], predicted).double() - problem.expected).abs()
    assert (error <= ROUNDING * problem.magnitude).all()


@pytest.mark.parametrize('case', DIRECT + WINOGRAD + DEFORMABLE, ids=name_of)
def test_the_same_bits_with_any_number_of_threads(case):
    results = []
    for threads in (1, 2, 3, 7):
        compat.set_threads(threads)
        problem = in_bf16(case)
        results.append(problem.layer(*problem.inputs))
    assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize('kind', ['convolution', 'deformable'])
def test_odd_channels_stay_in_float32(kind):
    """Factors are multiplied in pairs."""
    case = Case(kind, channels=19)
    problem = in_bf16(case)
    assert method_of(problem.layer) == (False, False)
    assert torch.equal(problem.layer(*problem.inputs), make(case).layer(*problem.inputs))


@pytest.mark.parametrize('winograd', [False, True])
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_what_is_no_number_stays_none(value, winograd):
    problem = in_bf16(Case('convolution', channels=16, outputs=5, size=(12, 12), relu=True))
    if not winograd:
        with directly():
            problem = in_bf16(Case('convolution', channels=16, outputs=5, size=(12, 12), relu=True))
    assert method_of(problem.layer) == (winograd, True)
    problem.inputs[0][0, 6, 6, 3] = value
    found = problem.layer(*problem.inputs).numpy()
    if np.isnan(value):
        assert np.isnan(found[0, 5:8, 5:8]).all()
    else:
        assert (~np.isfinite(found[0, 5:8, 5:8]) | (found[0, 5:8, 5:8] == 0)).all()
    assert np.isfinite(found[0, :3]).all()


@pytest.mark.parametrize('other', ['plain', 'avx2'])
def test_other_instruction_sets_have_none(other):
    problem = in_bf16(DIRECT[2])
    try:
        assert compiled.choose_instruction_set(other)
        assert 'AVX512_BF16' in layers.why_no_bf16()
        with pytest.raises(RuntimeError, match='packed'):
            problem.layer(*problem.inputs)
        fallen_back = in_bf16(DIRECT[2])
        assert method_of(fallen_back.layer) == (False, False)
    finally:
        compiled.choose_instruction_set('avx512')


def test_the_residual_is_not_rounded():
    with directly():
        problem = in_bf16(Case('convolution', channels=2, kernel=(1, 1), padding=(0, 0), residual=True))
    rest = problem.inputs[1]
    problem.inputs[0].zero_()
    layer = problem.layer
    without = layer(problem.inputs[0])
    assert torch.equal(layer(problem.inputs[0], rest), without + rest)
    assert not torch.equal(channels_last(to_bfloat16(rest)), channels_last(rest))
