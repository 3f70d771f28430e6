"""The layers of a fused network against torch's own operations in float64 (support/layer_cases.py)."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.layer_cases import INSTRUCTION_SETS, SAMPLES, Case, directly, make, method_of, name_of

from centernet.kernels import compiled
from centernet.system import compat

if compiled.MISSING:
    pytest.skip('the compiled operator is missing: ' + compiled.MISSING, allow_module_level=True)

# Of the sum of the magnitudes of what is added up at each place: every product and partial sum is rounded.
DIRECT = 1e-6
# Of the largest such sum: Winograd's method takes differences of sums over a tile, so errors do not shrink
# where the result does.
WINOGRAD = 1e-6
# Of the largest such sum: places are rounded to float32 as well, by 2e-6 of a pixel where the place is 30.
DEFORMABLE = 3e-6


@pytest.fixture(autouse=True)
def best_instruction_set_and_threads():
    before, threads = compiled.description(), torch.get_num_threads()
    yield
    assert any(compiled.choose_instruction_set(name) for name in INSTRUCTION_SETS if f'({name})' in before)
    compat.set_threads(threads)


@pytest.fixture(params=INSTRUCTION_SETS)
def instruction_set(request):
    if not compiled.choose_instruction_set(request.param):
        pytest.skip(f'this processor does not support {request.param}')
    return request.param


def tolerance_of(problem):
    """How much the output may differ, at each place."""
    kind = type(problem.layer).__name__
    if kind == 'MaxPool':
        return 0 * problem.magnitude
    if kind == 'DeformableConvolution':
        return DEFORMABLE * problem.magnitude.max()
    if kind == 'Convolution' and method_of(problem.layer)[0]:
        return WINOGRAD * problem.magnitude.max()
    return DIRECT * problem.magnitude


def check(case, seed=0):
    problem = make(case, seed)
    found = problem.layer(*problem.inputs)
    assert found.shape == problem.expected.shape and found.dtype == torch.float32 and found.is_contiguous()
    error, tolerance = (found.double() - problem.expected).abs(), tolerance_of(problem)
    assert (error <= tolerance).all(), (error / problem.magnitude.max()).max()
    return problem


CHANNELS = st.sampled_from([1, 2, 3, 4, 8, 16, 19, 27, 32, 33, 64, 80])
FREE = dict(  # what every strategy says, because hypothesis would draw other values for what is left out
    kernel=st.just((3, 3)),
    stride=st.just(1),
    padding=st.just((1, 1)),
    dilation=st.just(1),
    groups=st.just(1),
    reach=st.just(2.0),
    bf16=st.just(False),
    batch=st.integers(1, 3),
    channels=CHANNELS,
    outputs=CHANNELS,
    size=st.tuples(st.integers(1, 19), st.integers(1, 19)),
    residual=st.booleans(),
    relu=st.booleans(),
)


def cases(kind, **options):
    return st.builds(Case, kind, **dict(FREE, **options))


@st.composite
def convolutions(draw):
    case = draw(
        cases(
            st.just('convolution'),
            kernel=st.sampled_from([(1, 1), (3, 3), (3, 3), (7, 7), (1, 3), (3, 2), (2, 2), (5, 1)]),
            stride=st.sampled_from([1, 1, 2, 3]),
        )
    )
    padding = tuple(draw(st.integers(0, k - 1)) for k in case.kernel)
    size = tuple(max(n, k - 2 * p) for n, k, p in zip(case.size, case.kernel, padding))
    return case._replace(padding=padding, size=size)


@settings(max_examples=150)
@given(
    convolutions(), st.sampled_from(INSTRUCTION_SETS), st.booleans(), st.integers(1, 3), st.integers(0, 99)
)
def test_convolutions(case, instruction_set, direct, threads, seed):
    compiled.choose_instruction_set(instruction_set)  # has no effect if the processor lacks it
    compat.set_threads(threads)
    if direct:
        with directly():
            check(case, seed)
    else:
        check(case, seed)


@settings(max_examples=60)
@given(
    cases(
        st.sampled_from(['transposed', 'spread']),
        stride=st.integers(1, 4),
        padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    ),
    st.sampled_from(INSTRUCTION_SETS),
    st.integers(1, 3),
)
def test_transposed_convolutions(case, instruction_set, threads):
    compiled.choose_instruction_set(instruction_set)
    compat.set_threads(threads)
    check(case)


@st.composite
def pools(draw):
    case = draw(
        cases(
            st.just('max_pool'),
            kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
            stride=st.integers(1, 3),
        )
    )
    padding = tuple(draw(st.integers(0, k // 2)) for k in case.kernel)  # torch's limit
    size = tuple(max(n, k - 2 * p) for n, k, p in zip(case.size, case.kernel, padding))
    return case._replace(padding=padding, size=size)


@settings(max_examples=60)
@given(pools(), st.sampled_from(INSTRUCTION_SETS))
def test_pools(case, instruction_set):
    compiled.choose_instruction_set(instruction_set)
    check(case)


@st.composite
def deformables(draw):
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    case = draw(
        cases(
            st.just('deformable'),
            kernel=st.sampled_from([(3, 3), (3, 3), (1, 1), (3, 2), (2, 5)]),
            stride=st.integers(1, 2),
            dilation=st.integers(1, 2),
            reach=st.sampled_from([0.0, 0.5, 3.0, 40.0]),
        )
    )
    padding = tuple(draw(st.integers(0, k - 1)) for k in case.kernel)
    size = tuple(
        max(n, case.dilation * (k - 1) + 1 - 2 * p) for n, k, p in zip(case.size, case.kernel, padding)
    )
    return case._replace(padding=padding, size=size, groups=groups, channels=groups * case.channels)


@settings(max_examples=60)
@given(deformables(), st.sampled_from(INSTRUCTION_SETS), st.integers(1, 3), st.integers(0, 99))
def test_deformable_convolutions(case, instruction_set, threads, seed):
    compiled.choose_instruction_set(instruction_set)
    compat.set_threads(threads)
    check(case, seed)


@pytest.mark.parametrize('case', SAMPLES, ids=name_of)
def test_every_instruction_set(instruction_set, case):
    check(case)


# Threads


@pytest.mark.parametrize('case', SAMPLES, ids=name_of)
def test_the_same_bits_with_any_number_of_threads(instruction_set, case):
    results = []
    for threads in (1, 2, 3, 7):
        compat.set_threads(threads)
        problem = make(case)
        results.append(problem.layer(*problem.inputs))
    assert all(torch.equal(result, results[0]) for result in results)


# Methods


@pytest.mark.parametrize(
    'channels, direct, winograd', [(64, False, True), (64, True, False), (19, False, False)]
)
def test_the_method_of_a_convolution(channels, direct, winograd):
    """What the tests above compute directly and by Winograd's method."""
    with directly() if direct else compat.contextlib.suppress():
        problem = make(Case('convolution', channels=channels))
    assert method_of(problem.layer) == (winograd, False)


@pytest.mark.parametrize('changes', [dict(stride=2), dict(kernel=(3, 2)), dict(channels=512, outputs=256)])
def test_convolutions_that_winograd_is_not_for(changes):
    problem = check(Case('convolution', channels=64)._replace(**changes))
    assert method_of(problem.layer) == (False, False)


def test_rounding_errors_of_winograds_method(instruction_set):
    """8e-7 of the values with 64 channels; with the points 1 and 2 it is 2e-6."""
    problem = make(Case('convolution', channels=64, outputs=64, size=(32, 32)))
    assert method_of(problem.layer)[0]
    error = (problem.layer(*problem.inputs).double() - problem.expected).pow(2).mean().item()
    assert math.sqrt(error / problem.expected.pow(2).mean().item()) < 1.2e-6


def test_no_images():
    for case in SAMPLES:
        problem = make(case)
        inputs = [each[:0].contiguous() for each in problem.inputs]
        assert problem.layer(*inputs).shape == (0, *problem.expected.shape[1:])
