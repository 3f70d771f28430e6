import pytest
import torch

from centernet.kernels import DCN, deform_conv2d


def test_has_the_names_of_the_published_checkpoints():
    shapes = {name: tuple(tensor.shape) for name, tensor in DCN(8, 4).state_dict().items()}
    assert shapes == {
        'weight': (4, 8, 3, 3),
        'bias': (4,),
        'conv_offset_mask.weight': (27, 8, 3, 3),
        'conv_offset_mask.bias': (27,),
    }


def test_starts_as_half_a_convolution():
    module, x = DCN(8, 4), torch.randn(2, 8, 6, 5)
    expected = torch.nn.functional.conv2d(x, module.weight, module.bias, padding=1) / 2
    assert torch.allclose(module(x), expected, atol=1e-5)


def test_offsets_are_interleaved_and_the_mask_comes_last():
    module, x = (
        DCN(8, 4, kernel_size=(3, 2), stride=2, padding=(1, 0), dilation=(1, 2), deformable_groups=2),
        torch.randn(1, 8, 9, 7),
    )
    torch.nn.init.normal_(module.conv_offset_mask.weight, std=0.3)
    predicted = module.conv_offset_mask(x)
    first, second, logits = torch.chunk(predicted, 3, dim=1)  # as in the published networks
    expected = deform_conv2d(
        x,
        torch.cat((first, second), dim=1),
        torch.sigmoid(logits),
        module.weight,
        module.bias,
        2,
        (1, 0),
        (1, 2),
        deformable_groups=2,
    )
    assert torch.equal(module(x), expected)


def test_learns():
    module = DCN(2, 3)
    torch.nn.init.normal_(module.conv_offset_mask.weight, std=0.1)
    module(torch.randn(1, 2, 5, 5)).pow(2).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def arguments(**changes):
    tensors = dict(
        input=torch.zeros(2, 4, 5, 6),
        offset=torch.zeros(2, 18, 5, 6),
        mask=torch.zeros(2, 9, 5, 6),
        weight=torch.zeros(8, 4, 3, 3),
        bias=torch.zeros(8),
        padding=1,
    )
    tensors.update(changes)
    return tensors


def test_the_arguments_below_are_valid_but_for_one_change():
    assert deform_conv2d(**arguments()).shape == (2, 8, 5, 6)


@pytest.mark.parametrize(
    'changes, message',
    [
        (
            dict(offset=torch.zeros(2, 9, 5, 6)),
            r'offset .*\(2, 9, 5, 6\).*\(2, 18, 5, 6\)',
        ),
        (
            dict(offset=torch.zeros(1, 18, 5, 6)),
            r'offset .*\(1, 18, 5, 6\).*\(2, 18, 5, 6\)',
        ),
        (dict(mask=torch.zeros(2, 9, 5, 5)), r'mask .*\(2, 9, 5, 5\).*\(2, 9, 5, 6\)'),
        (dict(weight=torch.zeros(8, 3, 3, 3)), r'groups .*\(2, 4, 5, 6\).*weight \(8, 3, 3, 3\)'),
        (dict(bias=torch.zeros(4)), r'bias .*\(4,\).*\(8,\)'),
        (dict(input=torch.zeros(4, 5, 6)), r'4 dimensions.*input \(4, 5, 6\)'),
        (dict(stride=0), r'stride \(0, 0\).*at least 1'),
        (dict(padding=-1), r'padding \(-1, -1\) at least 0'),
        (dict(dilation=(1, 2, 3)), 'dilation .*one int or two'),
        (dict(deformable_groups=3), 'deformable groups'),
        (dict(groups=0), ' 0 groups.*at least 1'),
        (dict(padding=0, dilation=9), 'smaller than the dilated kernel'),
    ],
)
def test_names_the_shapes_that_disagree(changes, message):
    with pytest.raises(ValueError, match=message):
        deform_conv2d(**arguments(**changes))


def test_names_the_dtypes_that_disagree():
    with pytest.raises(TypeError, match=r'mask .*float64.* input .*float32'):
        deform_conv2d(**arguments(mask=torch.zeros(2, 9, 5, 6, dtype=torch.float64)))
