"""float16: sums and positions in float32, results rounded once."""

import pytest
import torch

from centernet.kernels import deform_conv2d

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
