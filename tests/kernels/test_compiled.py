"""The compiled operator against torchvision, if it is installed, the reference, and finite differences."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet.kernels import compiled, deform_conv2d
from centernet.kernels.arguments import check_arguments
from centernet.kernels.reference import deform_conv2d_reference

try:
    from torchvision.ops import deform_conv2d as torchvision_deform_conv2d
except (ImportError, RuntimeError):  # RuntimeError: torchvision for another torch
    torchvision_deform_conv2d = None

if compiled.MISSING:
    pytest.skip('the compiled operator is missing: ' + compiled.MISSING, allow_module_level=True)

NAMES = ('input', 'offset', 'mask', 'weight', 'bias')
INSTRUCTION_SETS = ('plain', 'avx2', 'avx512')
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}  # of the largest value: sums in another order


@pytest.fixture(autouse=True)
def best_instruction_set_and_threads():
    before, threads = compiled.description(), torch.get_num_threads()
    yield
    assert any(compiled.choose_instruction_set(name) for name in INSTRUCTION_SETS if f'({name})' in before)
    torch.set_num_threads(threads)


def out_size(size, kernel, stride, padding, dilation):
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


@st.composite
def problems(draw, most_channels=40, most_pixels=20):
    """Shapes of the five tensors, and options."""
    pairs = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731
    groups, deformable_groups = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 2), (2, 4), (3, 2)]))
    unit = 6 if groups == 3 else max(groups, deformable_groups)
    channels = unit * draw(st.integers(1, max(1, most_channels // unit)))
    outputs = groups * draw(st.integers(1, max(1, most_channels // groups)))
    kernel, stride, padding, dilation = (
        draw(pairs(1, 4)),
        draw(pairs(1, 3)),
        draw(pairs(0, 3)),
        draw(pairs(1, 2)),
    )
    size = [
        draw(st.integers(max(1, d * (k - 1) + 1 - 2 * p), max(1, d * (k - 1) + 1 - 2 * p) + most_pixels))
        for k, p, d in zip(kernel, padding, dilation)
    ]
    out = [out_size(*args) for args in zip(size, kernel, stride, padding, dilation)]
    batch, taps = draw(st.integers(1, 3)), kernel[0] * kernel[1]
    shapes = [
        (batch, channels, *size),
        (batch, 2 * deformable_groups * taps, *out),
        (batch, deformable_groups * taps, *out),
        (outputs, channels // groups, *kernel),
        (outputs,),
    ]
    return shapes, dict(
        stride=stride, padding=padding, dilation=dilation, groups=groups, deformable_groups=deformable_groups
    )


def make_tensors(shapes, dtype, reach, on_grid, seed):
    """Return random tensors; offsets of about ``reach`` pixels, a share ``on_grid`` of them on pixels."""
    torch.manual_seed(seed)
    tensors = [torch.randn(*shape, dtype=dtype) for shape in shapes]
    tensors[1] *= reach
    tensors[1] = torch.where(torch.rand_like(tensors[1]) < on_grid, tensors[1].round(), tensors[1])
    tensors[2] = torch.rand_like(tensors[2])
    return [tensor.requires_grad_() for tensor in tensors]


def run_compiled(tensors, options):
    return compiled.deform_conv2d_compiled(*tensors, check_arguments(*tensors, **options))


def run_reference(tensors, options):
    return deform_conv2d_reference(*tensors, check_arguments(*tensors, **options))


def run_torchvision(tensors, options):
    input, offset, mask, weight, bias = tensors
    return torchvision_deform_conv2d(
        input, offset, weight, bias, options['stride'], options['padding'], options['dilation'], mask
    )


def assert_equal(found, expected, what):
    scale = max(expected.abs().max().item(), 1e-3)
    error = (found - expected).abs().max().item() / scale
    assert error <= TOLERANCE[expected.dtype], f'{what} differs by {error:.1e}'


def assert_same_values_and_gradients(run, expect, tensors, options):
    found, expected = run(tensors, options), expect(tensors, options)
    assert found.shape == expected.shape
    assert_equal(found, expected, 'output')
    grad = torch.randn_like(expected)
    pairs = zip(
        NAMES, torch.autograd.grad(found, tensors, grad), torch.autograd.grad(expected, tensors, grad)
    )
    for name, gradient, expected_gradient in pairs:
        assert_equal(gradient, expected_gradient, 'the gradient of ' + name)


# Values


@settings(max_examples=60)
@given(
    problems(),
    st.sampled_from([torch.float32, torch.float64]),
    st.sampled_from([0, 0.5, 3, 40]),
    st.sampled_from([0, 0.5, 1]),
    st.sampled_from(INSTRUCTION_SETS),
    st.integers(1, 3),
    st.integers(0, 1000),
)
def test_equals_the_oracle(problem, dtype, reach, on_grid, instruction_set, threads, seed):
    compiled.choose_instruction_set(instruction_set)  # has no effect if the processor lacks it
    torch.set_num_threads(threads)
    shapes, options = problem
    oracle = run_torchvision if torchvision_deform_conv2d else run_reference
    assert_same_values_and_gradients(
        run_compiled, oracle, make_tensors(shapes, dtype, reach, on_grid, seed), options
    )


@pytest.mark.parametrize('instruction_set', INSTRUCTION_SETS)
@pytest.mark.parametrize('channels, outputs, size', [(512, 64, 5), (130, 35, 12), (64, 64, 40)])
def test_equals_the_reference_where_products_are_cut_into_blocks(instruction_set, channels, outputs, size):
    if not compiled.choose_instruction_set(instruction_set):
        pytest.skip(f'this processor does not support {instruction_set}')
    shapes = [
        (2, channels, size, size),
        (2, 18, size, size),
        (2, 9, size, size),
        (outputs, channels, 3, 3),
        (outputs,),
    ]
    options = dict(stride=1, padding=1, dilation=1, groups=1, deformable_groups=1)
    assert_same_values_and_gradients(
        run_compiled, run_reference, make_tensors(shapes, torch.float64, 2, 0.1, 0), options
    )


def test_no_bias():
    shapes = [(1, 3, 5, 5), (1, 18, 5, 5), (1, 9, 5, 5), (2, 3, 3, 3), (2,)]
    options = dict(stride=1, padding=1, dilation=1, groups=1, deformable_groups=1)
    tensors = make_tensors(shapes, torch.float64, 1, 0, 0)[:4] + [None]
    found, expected = run_compiled(tensors, options), run_reference(tensors, options)
    assert_equal(found, expected, 'output')
    for name, a, b in zip(
        NAMES, torch.autograd.grad(found.sum(), tensors[:4]), torch.autograd.grad(expected.sum(), tensors[:4])
    ):
        assert_equal(a, b, name)


SMALL = [
    (
        [(1, 2, 3, 4), (1, 18, 3, 4), (1, 9, 3, 4), (2, 2, 3, 3), (2,)],
        dict(stride=1, padding=1, dilation=1, groups=1, deformable_groups=1),
    ),
    (
        [(2, 4, 5, 4), (2, 48, 3, 2), (2, 24, 3, 2), (2, 2, 3, 2), (2,)],
        dict(stride=2, padding=(1, 0), dilation=(1, 1), groups=2, deformable_groups=4),
    ),
]


@pytest.mark.parametrize('shapes, options', SMALL)
def test_gradients_by_finite_differences(shapes, options):
    shapes = list(shapes)
    height, width = (
        out_size(*args)
        for args in zip(
            shapes[0][2:],
            shapes[3][2:],
            *(
                (value, value) if isinstance(value, int) else value
                for value in (options['stride'], options['padding'], options['dilation'])
            ),
        )
    )
    shapes[1:3] = [(*shape[:2], height, width) for shape in shapes[1:3]]
    tensors = make_tensors(shapes, torch.float64, 1, 0, 3)
    # away from the pixel grid, where the function has a kink
    with torch.no_grad():
        tensors[1].copy_(tensors[1].floor() + 0.1 + 0.8 * torch.rand_like(tensors[1]))
    assert torch.autograd.gradcheck(lambda *args: run_compiled(args, options), tensors, eps=1e-6, atol=1e-5)


# Positions that are NaN, infinite, or on the border


def one_tap(height=3, width=4, dtype=torch.float64):
    """A 1x1 kernel over one channel: the output is the sampled value."""
    torch.manual_seed(0)
    tensors = [
        torch.rand(1, 1, height, width, dtype=dtype) + 1,
        torch.zeros(1, 2, height, width, dtype=dtype),
        torch.ones(1, 1, height, width, dtype=dtype),
        torch.ones(1, 1, 1, 1, dtype=dtype),
        None,
    ]
    return tensors, dict(stride=1, padding=0, dilation=1, groups=1, deformable_groups=1)


@pytest.mark.parametrize(
    'value', [float('nan'), float('inf'), -float('inf'), 1e30, -1e30, 2**31 + 0.0, -(2**31) - 0.0]
)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('instruction_set', INSTRUCTION_SETS)
def test_places_out_of_reach_count_as_zero(value, dtype, instruction_set):
    compiled.choose_instruction_set(instruction_set)
    tensors, options = one_tap(dtype=dtype)
    tensors[1][0, 0, 1, 1] = tensors[1][0, 1, 2, 2] = value
    tensors = [tensor.requires_grad_() for tensor in tensors[:4]] + [None]
    output = run_compiled(tensors, options)
    expected = tensors[0].detach().clone()
    expected[0, 0, 1, 1] = expected[0, 0, 2, 2] = 0
    assert torch.equal(output.detach(), expected)
    grad_input, grad_offset, grad_mask = torch.autograd.grad(output.sum(), tensors[:3])
    assert torch.equal(grad_input != 0, expected != 0)
    assert torch.equal(grad_mask, expected)
    for at in ((1, 1), (2, 2)):
        assert grad_offset[(0, slice(None)) + at].tolist() == [0, 0]


@pytest.mark.parametrize(
    'place, value, slope',
    [
        (-1.25, 0, 0),
        (-1, 0, 2),
        (-0.75, 0.5, 2),
        (0, 2, 3),
        (0.5, 3.5, 3),
        (1, 5, -5),
        (1.75, 1.25, -5),
        (2, 0, 0),
        (2.5, 0, 0),
    ],
)
def test_values_and_slopes_at_the_border(place, value, slope):
    """Along a column of two pixels, 2 and 5; the slope at a kink is the one to its right."""
    input = torch.tensor([2.0, 5.0]).view(1, 1, 2, 1)
    offset = torch.zeros(1, 2, 2, 1)
    offset[0, 0, 0, 0] = place
    offset.requires_grad_()
    tensors = [input, offset, torch.ones(1, 1, 2, 1), torch.ones(1, 1, 1, 1), None]
    output = run_compiled(tensors, dict(stride=1, padding=0, dilation=1, groups=1, deformable_groups=1))[
        0, 0, 0, 0
    ]
    assert output.item() == value
    output.backward()
    assert offset.grad[0, 0, 0, 0].item() == slope


def test_a_neighbour_outside_does_not_spread_nan():
    tensors, options = one_tap()
    tensors[0][0, 0, 0, 0] = float('nan')
    tensors[1][0, 0, 2, 3] = 100.0  # out of reach, whichever pixel replaces it
    tensors[1][0, 1, 1, 3] = 0.5  # half outside on the right
    output = run_compiled(tensors, options)[0, 0]
    assert torch.isnan(output).nonzero().tolist() == [[0, 0]]
    assert output[2, 3] == 0
    assert output[1, 3] == tensors[0][0, 0, 1, 3] / 2


# Tensors as callers have them


def some_problem(batch=2):
    shapes = [(batch, 6, 7, 9), (batch, 18, 7, 9), (batch, 9, 7, 9), (4, 6, 3, 3), (4,)]
    return make_tensors(shapes, torch.float32, 2, 0, 1), dict(
        stride=1, padding=1, dilation=1, groups=1, deformable_groups=1
    )


@pytest.mark.parametrize('index', range(4))
def test_tensors_that_are_not_contiguous(index):
    tensors, options = some_problem()
    expected = run_compiled(tensors, options)
    tensors[index] = (
        tensors[index].detach().permute(3, 2, 0, 1).contiguous().permute(2, 3, 1, 0).requires_grad_()
    )
    assert not tensors[index].is_contiguous()
    found = run_compiled(tensors, options)
    assert torch.equal(found, expected)
    found.sum().backward()
    gradient = tensors[index].grad
    again, _ = some_problem()
    run_compiled(again, options).sum().backward()
    assert torch.equal(gradient, again[index].grad)


@pytest.mark.skipif(not hasattr(torch, 'channels_last'), reason='torch < 1.5 has no channels_last layout')
def test_channels_last_in_is_channels_last_out():
    tensors, options = some_problem()
    expected = run_compiled(tensors, options)
    tensors[0] = tensors[0].detach().contiguous(memory_format=torch.channels_last)
    found = run_compiled(tensors, options)
    assert found.is_contiguous(memory_format=torch.channels_last) and not found.is_contiguous()
    assert torch.equal(found, expected)


def test_a_broadcast_gradient():
    tensors, options = some_problem()
    run_compiled(tensors, options).sum().backward()  # the gradient of a sum is one number, expanded
    found = [tensor.grad.clone() for tensor in tensors]
    again, _ = some_problem()
    output = run_compiled(again, options)
    output.backward(torch.ones_like(output))
    assert all(torch.equal(a, b.grad) for a, b in zip(found, again))


def test_an_empty_batch():
    tensors, options = some_problem(batch=0)
    output = run_compiled(tensors, options)
    assert output.shape == (0, 4, 7, 9)
    output.sum().backward()
    assert [tensor.grad.shape for tensor in tensors] == [tensor.shape for tensor in tensors]
    assert all(tensor.grad.abs().sum() == 0 for tensor in tensors)


def test_gradients_are_computed_on_request():
    expected_tensors, options = some_problem()
    run_compiled(expected_tensors, options).pow(2).sum().backward()
    for wanted in itertools.product((False, True), repeat=5):
        tensors = [tensor.detach().requires_grad_(want) for tensor, want in zip(expected_tensors, wanted)]
        output = run_compiled(tensors, options)
        assert output.requires_grad == any(wanted)
        if any(wanted):
            output.pow(2).sum().backward()
        for tensor, expected, want in zip(tensors, expected_tensors, wanted):
            assert torch.equal(tensor.grad, expected.grad) if want else tensor.grad is None


def test_inference_keeps_nothing():
    tensors, options = some_problem()
    with torch.no_grad():
        output = run_compiled(tensors, options)
    assert output.grad_fn is None and not output.requires_grad


# Threads


@pytest.mark.parametrize('instruction_set', INSTRUCTION_SETS)
def test_results_do_not_depend_on_the_number_of_threads(instruction_set):
    compiled.choose_instruction_set(instruction_set)
    shapes = [(3, 40, 23, 31), (3, 36, 23, 31), (3, 18, 23, 31), (24, 20, 3, 3), (24,)]
    options = dict(stride=1, padding=1, dilation=1, groups=2, deformable_groups=2)
    results = []
    for threads in (1, 2, 3, 7):
        torch.set_num_threads(threads)
        tensors = make_tensors(shapes, torch.float32, 2, 0.1, 5)
        results.append(run_compiled(tensors, options).detach())
    assert all(torch.equal(result, results[0]) for result in results)


def test_wrong_arguments_are_found_before_they_reach_the_operator():
    tensors, options = some_problem()
    tensors[2] = torch.ones(2, 9, 7, 8)
    with pytest.raises(ValueError, match=r'mask .*\(2, 9, 7, 8\).*\(2, 9, 7, 9\)'):
        deform_conv2d(*tensors, **options)
