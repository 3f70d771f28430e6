"""Empty tensors: no images give no results, as in torch's own convolution; anything else is refused."""

import pytest
import torch
from torch.nn import functional as F

from centernet.kernels import compiled, deform_conv2d

IMPLEMENTATIONS = [
    'reference',
    pytest.param(
        'compiled', marks=pytest.mark.skipif(bool(compiled.MISSING), reason=f'compiled: {compiled.MISSING}')
    ),
]


def tensors(batch=2, channels=4, size=(5, 6), outputs=3, kernel=(3, 3)):
    """A convolution with padding 2, so that its output has pixels even where the image has none."""
    out = [n + 4 - k + 1 for n, k in zip(size, kernel)]
    taps = kernel[0] * kernel[1]
    shapes = [
        (batch, channels, *size),
        (batch, 2 * taps, *out),
        (batch, taps, *out),
        (outputs, channels, *kernel),
        (outputs,),
    ]
    return [torch.zeros(*shape, requires_grad=True) for shape in shapes], out


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
def test_no_images(implementation, monkeypatch):
    monkeypatch.setenv('CENTERNET_DCN', implementation)
    arguments, out = tensors(batch=0)
    output = deform_conv2d(*arguments, padding=2)
    assert output.shape == (0, 3, *out)
    for gradient, tensor in zip(torch.autograd.grad(output.sum(), arguments), arguments):
        assert gradient.shape == tensor.shape and gradient.abs().sum() == 0


EMPTY = [
    (dict(size=(0, 6)), 'input'),
    (dict(size=(5, 0)), 'input'),
    (dict(channels=0), 'input'),
    (dict(outputs=0), 'weight'),
    (dict(kernel=(0, 3)), 'weight'),
    (dict(kernel=(3, 0)), 'weight'),
]


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
@pytest.mark.parametrize('sizes, name', EMPTY)
def test_anything_else_is_refused(implementation, sizes, name, monkeypatch):
    monkeypatch.setenv('CENTERNET_DCN', implementation)
    arguments, _ = tensors(**sizes)
    with pytest.raises(ValueError, match=f'size 0.* {name}'):
        deform_conv2d(*arguments, padding=2)


def test_torchs_own_convolution_takes_no_images_either():
    """What test_no_images holds this operator to; on torch 1.0.0 it is an error."""
    if torch.__version__.startswith('1.0.'):
        pytest.skip('torch 1.0.0 refuses an empty batch')
    assert F.conv2d(torch.zeros(0, 4, 5, 6), torch.zeros(3, 4, 3, 3)).shape == (0, 3, 3, 4)
