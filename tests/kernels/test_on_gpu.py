"""The operator on a GPU: against torchvision's there, the reference in float64, and finite differences."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet.kernels import compiled

if not torch.cuda.is_available():
    pytest.skip('there is no GPU', allow_module_level=True)
if compiled.MISSING or compiled.why_no_cuda():
    pytest.skip('the operator is built without CUDA', allow_module_level=True)

from test_compiled import make_tensors, problems, run_compiled, run_reference, torchvision_deform_conv2d

NAMES = ('input', 'offset', 'mask', 'weight', 'bias')
#: of the largest value, by the dtype: sums in another order, and rounded inputs and outputs
TOLERANCE = {torch.float16: 5e-3, torch.float32: 1e-5, torch.float64: 1e-10}


@pytest.fixture(autouse=True, scope='module')
def no_tf32():
    matmul, convolution = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, convolution


def compare(run, expect, found_inputs, expected_inputs, options, tolerance):
    """Values and gradients of the same problem in two forms."""
    found, expected = run(found_inputs, options), expect(expected_inputs, options)
    assert found.shape == expected.shape and found.device.type == 'cuda'
    grad = torch.randn(expected.shape, dtype=torch.float64)
    pairs = list(
        zip(
            ('output', *NAMES),
            (found, *torch.autograd.grad(found, found_inputs, grad.to(found.device, found.dtype))),
            (
                expected,
                *torch.autograd.grad(expected, expected_inputs, grad.to(expected.device, expected.dtype)),
            ),
        )
    )
    for name, one, other in pairs:
        one, other = one.detach().double().cpu(), other.detach().double().cpu()
        scale = max(other.abs().max().item(), 1e-3)
        assert (one - other).abs().max().item() <= tolerance * scale, name


def moved(tensors, dtype, device):
    return [tensor.detach().to(device, dtype).requires_grad_() for tensor in tensors]


@settings(max_examples=150)
@given(
    problems(),
    st.sampled_from(sorted(TOLERANCE, key=str)),
    st.sampled_from([0.0, 0.5, 3.0, 30.0]),
    st.sampled_from([0.0, 0.5]),
    st.integers(0, 2**31 - 1),
)
def test_against_the_reference_in_float64(problem, dtype, reach, on_grid, seed):
    shapes, options = problem
    tensors = moved(make_tensors(shapes, torch.float64, reach, on_grid, seed), dtype, 'cuda')
    same = moved(tensors, torch.float64, 'cpu')
    if dtype == torch.float16:  # where offsets meet a pixel's border, the sides differ: compare values alone
        found = run_compiled([tensor.detach() for tensor in tensors], options).double().cpu()
        expected = run_reference([tensor.detach() for tensor in same], options)
        assert (found - expected).abs().max() <= TOLERANCE[dtype] * max(expected.abs().max().item(), 1e-3)
        return
    compare(run_compiled, run_reference, tensors, same, options, TOLERANCE[dtype] * 3)


@pytest.mark.skipif(torchvision_deform_conv2d is None, reason='torchvision is not installed')
@settings(max_examples=100)
@given(
    problems(most_channels=64, most_pixels=40),
    st.sampled_from([torch.float32, torch.float64]),
    st.sampled_from([0.5, 3.0]),
    st.integers(0, 2**31 - 1),
)
def test_against_torchvision_on_the_gpu(problem, dtype, reach, seed):
    shapes, options = problem
    tensors = moved(make_tensors(shapes, torch.float64, reach, 0.0, seed), dtype, 'cuda')

    def torchvision(inputs, options):
        input, offset, mask, weight, bias = inputs
        geometry = (options['stride'], options['padding'], options['dilation'])
        return torchvision_deform_conv2d(input, offset, weight, bias, *geometry, mask)

    compare(run_compiled, torchvision, tensors, moved(tensors, dtype, 'cuda'), options, TOLERANCE[dtype] * 3)


@pytest.mark.parametrize('groups, deformable_groups', [(1, 1), (2, 1), (1, 2), (2, 4)])
def test_finite_differences(groups, deformable_groups):
    torch.manual_seed(groups)
    shapes = [(2, 4, 6, 5), (2, 18 * deformable_groups, 6, 5), (2, 9 * deformable_groups, 6, 5)]
    shapes += [(4, 4 // groups, 3, 3), (4,)]
    tensors = [torch.randn(*shape, dtype=torch.float64, device='cuda') for shape in shapes]
    tensors[1] = (tensors[1].round() + 0.3 + 0.4 * torch.rand_like(tensors[1])).contiguous()
    inputs = [tensor.requires_grad_() for tensor in tensors]
    options = dict(
        stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=groups, deformable_groups=deformable_groups
    )
    assert torch.autograd.gradcheck(
        lambda *given: run_compiled(list(given), options), inputs, nondet_tol=1e-10
    )


def test_a_batch_that_needs_64_bit_indices():
    """15 images of 64 x 512 x 512: more than 2**31 values in the columns of one call, at 9 taps."""
    if torch.cuda.get_device_properties(0).total_memory < 40 * 2**30:
        pytest.skip('needs a GPU with 40 GiB')
    torch.manual_seed(0)
    tensors = [
        torch.randn(15, 64, 512, 512, device='cuda'),
        torch.randn(15, 18, 512, 512, device='cuda') * 2,
        torch.rand(15, 9, 512, 512, device='cuda'),
        torch.randn(8, 64, 3, 3, device='cuda') / 24,
        torch.randn(8, device='cuda'),
    ]
    options = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1, deformable_groups=1)
    with torch.no_grad():
        found = run_compiled(tensors, options)
        for image in (0, 7, 14):
            alone = run_compiled([tensor[image : image + 1] for tensor in tensors[:3]] + tensors[3:], options)
            assert (found[image : image + 1] - alone).abs().max() <= 1e-5 * alone.abs().max()


def test_another_stream_and_device_order():
    """The operator uses torch's current stream: what is queued before it is finished when it runs."""
    torch.manual_seed(1)
    shapes = [(4, 64, 64, 64), (4, 18, 64, 64), (4, 9, 64, 64), (32, 64, 3, 3), (32,)]
    tensors = [torch.randn(*shape, device='cuda') for shape in shapes]
    options = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1, deformable_groups=1)
    expected = run_compiled([tensors[0] * 2, *tensors[1:]], options)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(10):
            big = torch.randn(4096, 4096, device='cuda')
            big = big @ big  # keeps the stream busy
            found = run_compiled([tensors[0] * 2, *tensors[1:]], options)
    torch.cuda.current_stream().wait_stream(stream)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
