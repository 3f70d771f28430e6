"""What the layers of a prepared network refuse, so that nothing is read or written out of bounds."""

import numpy as np
import pytest
import torch
from support.layer_cases import INSTRUCTION_SETS, Case, directly, make, method_of

from centernet.dcn import compiled

if compiled.MISSING:
    pytest.skip('the compiled operator is missing: ' + compiled.MISSING, allow_module_level=True)

extension = compiled._extension


@pytest.fixture(params=INSTRUCTION_SETS, autouse=True)
def instruction_set(request):
    before = compiled.description()
    if not compiled.choose_instruction_set(request.param):
        pytest.skip(f'this processor does not support {request.param}')
    yield request.param
    assert any(compiled.choose_instruction_set(name) for name in INSTRUCTION_SETS if f'({name})' in before)


def packed_problem(winograd=False):
    with directly():
        problem = make(Case('convolution', channels=16, outputs=16, size=(5, 7)))
    layer = problem.layer
    if winograd:
        layer = make(Case('convolution', channels=16, outputs=16, size=(5, 7))).layer
        assert method_of(layer.packed)[0]
    return problem.inputs[0], layer.packed


@pytest.mark.parametrize('outputs', [16, 5])
@pytest.mark.parametrize('kind', ['convolution', 'deformable', 'transposed'])
def test_weights_packed_for_another_instruction_set(instruction_set, kind, outputs):
    problem = make(Case(kind, channels=16, outputs=outputs, size=(5, 7)))
    problem.layer(*problem.inputs)
    for other in INSTRUCTION_SETS:
        if other != instruction_set and compiled.choose_instruction_set(other):
            # the padding of 5 outputs tells already
            message = 'packed for another instruction set' if outputs == 16 else 'packed'
            with pytest.raises(RuntimeError, match=message):
                problem.layer(*problem.inputs)


GOOD = dict(
    residual=torch.zeros(0), relu=False, output=torch.zeros(2, 5, 7, 16), sizes=[5, 7, 16, 3, 3, 1, 1, 1],
    place=[1, 0, 0],
)  # fmt: skip
HUGE = 2**62
BAD = [
    (dict(input=torch.zeros(2, 5, 7, 17)), 'packed weights'),
    (dict(input=torch.zeros(2, 5, 7, 8)), 'packed weights'),
    (dict(input=torch.zeros(2, 5, 7)), 'input'),
    (dict(input=torch.zeros(2, 5, 0, 16)), 'empty'),
    (dict(input=torch.zeros(2, 5, 7, 16).double()), 'input'),
    (dict(input=torch.zeros(2, 5, 7, 16).long()), 'input'),
    (dict(input=torch.zeros(2, 7, 5, 16).transpose(1, 2)), 'input'),
    (dict(packed=torch.zeros(7)), 'packed weights'),
    (dict(packed=torch.zeros(1)), 'packed weights'),
    (dict(packed=torch.zeros(0)), 'packed weights'),
    (dict(residual=torch.zeros(2, 5, 7, 15)), 'residual'),
    (dict(residual=torch.zeros(1, 5, 7, 16)), 'residual'),
    (dict(residual=torch.zeros(2, 5, 7, 16).double()), 'residual'),
    (dict(output=torch.zeros(2, 5, 6, 16)), 'output'),
    (dict(output=torch.zeros(2, 4, 7, 16)), 'output'),
    (dict(output=torch.zeros(1, 5, 7, 16)), 'output'),
    (dict(output=torch.zeros(2, 5, 7, 32)), 'output'),
    (dict(output=torch.zeros(2, 5, 7, 16).double()), 'output'),
    (dict(output=torch.zeros(2, 5, 7, 32)[..., ::2]), 'output'),
    (dict(sizes=[5, 7, 16, 3, 3, 1, 1]), '8 sizes'),
    (dict(sizes=[5, 7, 32, 3, 3, 1, 1, 1]), 'packed weights'),
    (dict(sizes=[5, 7, 16, 3, 2, 1, 1, 1]), 'packed weights'),
    (dict(sizes=[5, 7, 16, 3, 3, 0, 1, 1]), 'empty'),
    (dict(sizes=[5, 7, 16, 3, 3, -1, 1, 1]), 'empty'),
    (dict(sizes=[5, 7, 16, 3, 3, HUGE, 1, 1]), 'outside'),
    (dict(sizes=[5, 7, 16, 3, 3, 1, 3, 1]), 'padding'),
    (dict(sizes=[5, 7, 16, 3, 3, 1, 1, -1]), 'padding'),
    (dict(sizes=[0, 7, 16, 3, 3, 1, 1, 1]), 'empty'),
    (dict(place=[1, 0]), 'step'),
    (dict(place=[0, 0, 0]), 'step'),
    (dict(place=[1, -1, 0]), 'step'),
    (dict(place=[1, 1, 0]), 'output'),
    (dict(place=[2, 0, 0]), 'output'),
    (dict(place=[HUGE, 0, 0]), 'output'),
    (dict(place=[1, HUGE, HUGE]), 'output'),
]


@pytest.mark.parametrize('changes, message', BAD)
def test_convolutions_refuse(changes, message):
    _, packed = packed_problem()
    arguments = dict(GOOD, input=torch.zeros(2, 5, 7, 16), packed=packed)
    names = ('input', 'packed', 'residual', 'relu', 'output', 'sizes', 'place')
    extension.convolve(*[arguments[name] for name in names])
    arguments.update(changes)
    with pytest.raises(RuntimeError, match=message):
        extension.convolve(*[arguments[name] for name in names])


def test_other_types_are_refused():
    image, packed = packed_problem()
    for first in (None, 3, image.numpy(), [image]):
        with pytest.raises(TypeError):
            extension.convolve(first, packed, image[:0], False, image, [5, 7, 16, 3, 3, 1, 1, 1], [1, 0, 0])


@pytest.mark.skipif(not hasattr(torch.Tensor, 'is_meta'), reason='this torch has no device without memory')
def test_other_devices_are_refused():
    image, packed = packed_problem()
    for index in range(4):
        arguments = [image, packed, image, False, torch.zeros_like(image)]
        arguments[index if index < 3 else 4] = arguments[index if index < 3 else 4].to('meta')
        with pytest.raises(RuntimeError):
            extension.convolve(*arguments, [5, 7, 16, 3, 3, 1, 1, 1], [1, 0, 0])


def test_packed_weights_of_another_method():
    """Their header says what they are for, and it must fit their number."""
    image, packed = packed_problem()
    arguments = [image[:0], False, torch.zeros_like(image), [5, 7, 16, 3, 3, 1, 1, 1]]
    for field in (1, 2):
        forged = packed.clone()
        forged.numpy()[:3].view(np.int32)[field] = 1
        with pytest.raises(RuntimeError, match='packed'):
            extension.convolve(image, forged, *arguments, [1, 0, 0])
    _, winograd = packed_problem(winograd=True)
    with pytest.raises(RuntimeError, match='packed'):
        extension.deform(image, torch.zeros(1, 5, 7, 27), winograd, *arguments[1:], 1, 1)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(predicted=torch.zeros(1, 5, 7, 26)), 'offsets'),
        (dict(predicted=torch.zeros(1, 5, 6, 27)), 'offsets'),
        (dict(predicted=torch.zeros(2, 5, 7, 27)), 'offsets'),
        (dict(predicted=torch.zeros(1, 5, 7, 27).double()), 'offsets'),
        (dict(dilation=0), 'groups'),
        (dict(dilation=HUGE), 'pixels'),
        (dict(groups=0), 'groups'),
        (dict(groups=3), 'groups'),
        (dict(groups=2), 'offsets'),
        (dict(sizes=[5, 7, 16, 3, 3, HUGE, 1, 1]), 'outside|pixels'),
    ],
)
def test_deformable_convolutions_refuse(changes, message):
    image, packed = packed_problem()
    arguments = dict(
        GOOD, input=image, packed=packed, predicted=torch.zeros(1, 5, 7, 27), dilation=1, groups=1
    )
    arguments['output'] = torch.zeros_like(image)
    names = ('input', 'predicted', 'packed', 'relu', 'output', 'sizes', 'dilation', 'groups')
    extension.deform(*[arguments[name] for name in names])
    arguments.update(changes)
    with pytest.raises(RuntimeError, match=message):
        extension.deform(*[arguments[name] for name in names])


def test_other_layers_refuse():
    image, nothing = torch.zeros(1, 5, 7, 16), torch.zeros(0)
    sizes = [10, 14, 16, 2, 2, 2, 0, 0]
    for weight in (
        torch.zeros(2, 2, 15),
        torch.zeros(2, 3, 16),
        torch.zeros(2, 2),
        torch.zeros(2, 2, 16).double(),
    ):
        with pytest.raises(RuntimeError, match='weight'):
            extension.spread(image, weight, nothing, False, torch.zeros(1, 10, 14, 16), sizes)
    with pytest.raises(RuntimeError, match='output'):
        extension.spread(image, torch.zeros(2, 2, 16), nothing, False, torch.zeros(1, 10, 13, 16), sizes)
    for sizes, message in (
        ([5, 7, 16, 3, 3, 2, 1, 1], 'outside'),
        ([5, 7, 16, 3, 3, HUGE, 1, 1], 'outside'),
        ([5, 7, 15, 3, 3, 1, 1, 1], 'keeps'),
        ([5, 7, 16, 3, 3, 1, 3, 1], 'padding'),
    ):
        with pytest.raises(RuntimeError, match=message):
            extension.max_pool(image, torch.zeros_like(image), sizes)


def test_packing_refuses():
    weight, bias = torch.zeros(4, 3, 3, 3), torch.zeros(4)
    for arguments, message in (
        ((weight, torch.zeros(5), False, False, 1), 'bias'),
        ((weight.double(), bias, False, False, 1), 'weight'),
        ((weight[0], bias, False, False, 1), 'weight'),
        ((weight.transpose(0, 1), bias, False, False, 1), 'weight'),
        ((weight, bias, True, False, 1), 'method'),  # 3 channels are no vector
        ((torch.zeros(4, 16, 3, 3), bias, True, False, 2), 'method'),
        ((torch.zeros(4, 16, 3, 2), bias, True, False, 1), 'method'),
        ((weight, bias, False, True, 1), 'method'),  # 3 channels are no pairs
    ):
        with pytest.raises(RuntimeError, match=message):
            extension.pack(*arguments)
