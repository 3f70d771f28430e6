"""What the layers of a fused network refuse, so that nothing is read or written out of bounds."""

import pytest
import torch
from support.layer_cases import INSTRUCTION_SETS, Case, make

from centernet.kernels import compiled

if compiled.MISSING:
    pytest.skip('the compiled operator is missing: ' + compiled.MISSING, allow_module_level=True)

CASES = {
    'convolution': Case('convolution', 2, 16, 16, (5, 7), residual=True),
    'transposed': Case('transposed', 2, 16, 16, (5, 7), stride=2),
    'spread': Case('spread', 2, 16, 16, (5, 7), stride=2),
    'deformable': Case('deformable', 2, 16, 16, (5, 7)),
    'max_pool': Case('max_pool', 2, 16, 16, (5, 7)),
}


@pytest.mark.parametrize('outputs', [16, 5])
@pytest.mark.parametrize('kind', ['convolution', 'deformable', 'transposed'])
def test_weights_packed_for_another_instruction_set(kind, outputs):
    before = compiled._extension.instruction_set()
    problem = make(CASES[kind]._replace(outputs=outputs, residual=False))
    try:
        for other in INSTRUCTION_SETS:
            if other != before and compiled.choose_instruction_set(other):
                with pytest.raises(RuntimeError, match='packed for'):
                    problem.layer(*problem.inputs)
    finally:
        compiled.choose_instruction_set(before)


IMAGES = [
    torch.zeros(2, 5, 7, 17),
    torch.zeros(2, 5, 7),
    torch.zeros(2, 0, 7, 16),
    torch.zeros(2, 5, 7, 16).double(),
    torch.zeros(2, 7, 5, 16).transpose(1, 2),
]


@pytest.mark.parametrize('image', IMAGES, ids=lambda image: f'{image.dtype}-{tuple(image.shape)}')
@pytest.mark.parametrize('kind', ['convolution', 'transposed', 'deformable'])
def test_images(kind, image):
    problem = make(CASES[kind])
    with pytest.raises((RuntimeError, IndexError)):
        problem.layer(image, *problem.inputs[1:])


@pytest.mark.parametrize('kind', ['spread', 'max_pool'])
def test_images_of_layers_without_products(kind):
    layer = make(CASES[kind]).layer
    for image in IMAGES[1:] + (IMAGES[:1] if kind == 'spread' else []):
        with pytest.raises((RuntimeError, IndexError)):
            layer(image)


def test_images_that_are_added():
    layer, (image, rest) = make(CASES['convolution'])[:2]
    for other in (rest[..., :15].contiguous(), rest[:1], rest.double(), rest[0]):
        with pytest.raises((RuntimeError, IndexError)):
            layer(image, other)
    with pytest.raises(TypeError):
        layer(image, rest.numpy())


def test_offsets():
    layer, (image, predicted) = make(CASES['deformable'])[:2]
    for other in (predicted[..., :26].contiguous(), predicted[:1], predicted.double(), predicted[:, :0]):
        with pytest.raises(RuntimeError):
            layer(image, other)


def test_an_image_smaller_than_the_window():
    problem = make(CASES['convolution']._replace(kernel=(3, 3), padding=(0, 0), residual=False))
    with pytest.raises(RuntimeError):
        problem.layer(torch.zeros(1, 2, 7, 16))
