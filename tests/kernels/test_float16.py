"""float16 and autocast: sums and positions in float32, results rounded once."""

import pytest
import torch

from centernet.kernels import compiled, deform_conv2d
from centernet.kernels.module import DCN

try:
    from torchvision.ops import deform_conv2d as torchvision_deform_conv2d
except (ImportError, RuntimeError):  # RuntimeError: torchvision for another torch
    torchvision_deform_conv2d = None

needs_compiled = pytest.mark.skipif(bool(compiled.MISSING), reason=f'compiled: {compiled.MISSING}')
needs_autocast = pytest.mark.skipif(
    not hasattr(torch, 'autocast'), reason=f'torch {torch.__version__} has no autocast'
)
#: half a step of float16, relative
ROUNDING = 2.0**-11


def half_tensors(batch=2, channels=6, height=7, width=9, outputs=4):
    torch.manual_seed(0)
    tensors = [
        torch.randn(batch, channels, height, width),
        torch.randn(batch, 18, height, width) * 2,
        torch.rand(batch, 9, height, width),
        torch.randn(outputs, channels, 3, 3),
        torch.randn(outputs),
    ]
    return [tensor.half() for tensor in tensors]


def assert_rounded_once(found, exact):
    """float16 values are those in float64, to one rounding and to what float32 loses."""
    assert found.dtype == torch.float16
    error = (found.double() - exact).abs()
    assert (error <= ROUNDING * 1.01 * exact.abs() + 1e-5 * exact.abs().max()).all()


@pytest.fixture(autouse=True)
def plain_torch(monkeypatch):
    monkeypatch.setenv('CENTERNET_DCN', 'reference')


def test_the_reference_computes_in_float32():
    tensors = [tensor.requires_grad_() for tensor in half_tensors()]
    wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
    found, exact = deform_conv2d(*tensors, padding=1), deform_conv2d(*wide, padding=1)
    assert_rounded_once(found, exact)
    grad = torch.randn(exact.shape).half()
    pairs = zip(torch.autograd.grad(found, tensors, grad), torch.autograd.grad(exact, wide, grad.double()))
    for gradient, exact_gradient in pairs:
        assert_rounded_once(gradient, exact_gradient)


def test_positions_have_fractions_far_from_the_origin():
    """In float16 itself, 2500.25 would be 2500."""
    image = torch.arange(4096).remainder(2).float().view(1, 1, 1, 4096).half()
    offset = torch.zeros(1, 2, 1, 4096)
    offset[:, 1] = 0.25
    one = torch.ones(1, 1, 1, 1).half()
    found = deform_conv2d(image, offset.half(), torch.ones(1, 1, 1, 4096).half(), one)
    assert found[0, 0, 0, 2500].item() == 0.25 and found[0, 0, 0, 2501].item() == 0.75


@needs_autocast
@pytest.mark.parametrize('implementation', ['reference', pytest.param('compiled', marks=needs_compiled)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.float16])
def test_autocast_computes_in_float32(implementation, dtype, monkeypatch):
    monkeypatch.setenv('CENTERNET_DCN', implementation)
    tensors = [tensor.to(dtype) for tensor in half_tensors()]
    if dtype == torch.float32:  # as behind a convolution under autocast
        tensors[1], tensors[2] = tensors[1].bfloat16(), tensors[2].bfloat16()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = deform_conv2d(*tensors, padding=1)
    expected = deform_conv2d(
        *[tensor if dtype == torch.float64 else tensor.float() for tensor in tensors], padding=1
    )
    assert found.dtype == dtype
    assert torch.equal(found, expected.to(dtype))


@needs_autocast
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_autocast_equals_torchvision(dtype):
    """torchvision casts to float32 and back under autocast on GPUs alone; here that is done by hand."""
    if torchvision_deform_conv2d is None:
        pytest.skip('needs torchvision with deform_conv2d; ".ci/run oracle" installs it')
    dtype = getattr(torch, dtype)
    tensors = [tensor.float() for tensor in half_tensors()]
    tensors[0] = tensors[0].to(dtype)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = deform_conv2d(*tensors, padding=1)
    input, offset, mask, weight, bias = tensors
    expected = torchvision_deform_conv2d(input.float(), offset, weight, bias, padding=1, mask=mask).to(dtype)
    assert found.dtype == expected.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 2.0**-8
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@needs_autocast
@pytest.mark.parametrize('implementation', ['reference', pytest.param('compiled', marks=needs_compiled)])
def test_a_module_under_autocast(implementation, monkeypatch):
    monkeypatch.setenv('CENTERNET_DCN', implementation)
    torch.manual_seed(0)
    module = DCN(6, 4, 3, 1, 1)
    image = torch.randn(2, 6, 7, 9, requires_grad=True)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        output = module(image)
    output.sum().backward()
    assert output.dtype == torch.float32
    assert image.grad.dtype == torch.float32 and torch.isfinite(image.grad).all()
