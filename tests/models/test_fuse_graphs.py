"""Small networks in all kinds of shapes: what fuse gives for them is right, or None."""

import copy

import pytest
import torch
from torch import nn

from centernet.kernels import DCN, compiled
from centernet.networks.architectures.fuse import fuse
from centernet.networks.architectures.heads import Concatenate, Detector, bilinear_upsampling

if compiled.MISSING:
    pytest.skip('the compiled operator is missing: ' + compiled.MISSING, allow_module_level=True)

pytestmark = pytest.mark.filterwarnings('ignore:nn.Upsample is deprecated')  # by torch 1.0.0


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


class Network(Detector):
    """A network of named layers, and of a function that runs them: (network, images) -> outputs."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)
        torch.manual_seed(0)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.data.normal_()
                module.bias.data.normal_()
            if isinstance(module, DCN):
                module.conv_offset_mask.weight.data.normal_(0, 0.1)
                module.conv_offset_mask.bias.data.normal_()
                module.bias.data.normal_()
        self.eval()

    def forward(self, images):
        outputs = self.function(self, images)
        return outputs if isinstance(outputs, (dict, list)) else {'out': outputs}


def conv(inputs=3, outputs=3, size=3, stride=1, **options):
    return nn.Conv2d(inputs, outputs, size, stride, **dict({'padding': size // 2}, **options))


def norm(channels=3, **options):
    return nn.BatchNorm2d(channels, **options)


def assert_same(model, fused, size=(2, 3, 12, 8)):
    torch.manual_seed(1)
    images = torch.randn(size)
    expected, found = copy.deepcopy(model).double()(images.double()), fused(images)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].shape == value.shape
        assert (found[name].double() - value).abs().max() < 1e-5 * value.abs().max().clamp(min=1e-3), name


def chain(*modules):
    return Network(lambda net, x: net.all(x), all=nn.Sequential(*modules))


def block(function, **more):
    """A network with convolutions a, b and c, norms p and q, and ReLUs r (not in place) and i (in place)."""
    modules = dict(a=conv(), b=conv(), c=conv(), p=norm(), q=norm(), r=nn.ReLU(), i=nn.ReLU(inplace=True))
    return Network(function, **dict(modules, **more))


def two_outputs(net, x):
    y = net.r(net.p(net.a(x)))
    return {'middle': y, 'end': net.i(net.q(net.b(y)) + y)}


def used_twice(net, x):
    y = net.r(net.a(x))
    z = net.r(net.p(net.b(y)) + y)
    return net.c(z) + y


def one_sum_in_two(net, x):
    y = net.a(x) + net.b(x)
    return net.r(y) + net.c(y)


def unused(net, x):
    net.q(net.c(net.a(x)))
    return net.r(net.b(x))


def in_a_loop(net, x):
    for _ in range(3):
        x = net.r(net.p(net.a(x)) + x)
    return x


FUSED = {
    'a chain': chain(conv(), norm(), nn.ReLU(), conv(3, 5, 7, 2), norm(5), conv(5, 2, 1)),
    'another epsilon': chain(conv(bias=False), norm(eps=0.1)),
    'kernels and paddings that differ by axis': chain(nn.Conv2d(3, 4, (3, 1), 1, (1, 0)), nn.ReLU()),
    'a deformable convolution of other sizes': chain(conv(3, 4), DCN(4, 5, 3, 2, 1, 1, 2), norm(5)),
    'a deformable convolution and a sum': Network(lambda net, x: net.d(x) + x, d=DCN(3, 3)),
    'a transposed convolution with a sum': block(
        lambda net, x: net.r(net.up(net.a(x)) + net.up(x)), up=nn.ConvTranspose2d(3, 3, 2, 2)
    ),
    'upsampling by channels': block(
        lambda net, x: net.r(net.up(net.a(x)) + net.up(x)), up=bilinear_upsampling(3, 2)
    ),
    'repetition': block(
        lambda net, x: net.r(net.b(net.up(x)) + net.up(net.a(x))), up=nn.Upsample(scale_factor=2)
    ),
    'a pool': chain(conv(), nn.MaxPool2d(3, 2, 1), nn.ReLU(), nn.MaxPool2d(2), conv()),
    'a concatenation': block(lambda net, x: net.r(net.cat([net.a(x), x, net.b(x)])), cat=Concatenate()),
    'a residual block': block(lambda net, x: net.i(net.q(net.b(net.i(net.p(net.a(x))))) + x)),
    'sums in another order': block(lambda net, x: x + (net.a(x) + (x + net.b(x)))),
    'a value and itself': block(lambda net, x: net.r(net.a(x) + net.a(x)) + (x + x)),
    'relu before a sum': block(lambda net, x: net.r(net.a(x)) + net.r(net.b(x))),
    'an output in the middle': block(two_outputs),
    'a value for two': block(lambda net, x: (lambda y: {'out': y, 'same': y})(net.r(net.a(x)))),
    'a residual that is used twice': block(used_twice),
    'a sum that is used twice': block(one_sum_in_two),
    'layers that are not used': block(unused),
    'the same layers again': block(in_a_loop),
    'more padding than kernel': chain(conv(padding=3), conv(3, 16, padding=(4, 3)), conv(16, 16, padding=5)),
    'a deformable convolution with more padding than kernel': chain(DCN(3, 3, 1, 1, 1), DCN(3, 4, 3, 1, 4)),
}


@pytest.mark.parametrize('name', sorted(FUSED))
def test_fused(name):
    model = FUSED[name]
    fused = fuse(model)
    assert fused is not None
    assert_same(model, fused)


class Scaled(nn.Conv2d):
    """A convolution that does more."""

    def forward(self, x):
        return 2 * super().forward(x)


class Own(nn.Module):
    def forward(self, x):
        return torch.tanh(x) if isinstance(x, torch.Tensor) else self.refuse(x)

    def refuse(self, x):
        raise ValueError('only tensors')


def added_in_place(net, x):
    y = net.a(x)
    z = y
    z += x
    return net.b(y) + z


NOT_FUSED = {
    'a layer of its own': chain(conv(), Own()),
    'a function': block(lambda net, x: torch.tanh(net.a(x))),
    'a number in a sum': block(lambda net, x: net.a(x) + 2),
    'a norm after relu': chain(conv(), nn.ReLU(), norm()),
    'a norm after a norm': chain(conv(), norm(), norm()),
    'a norm of what is needed without': block(lambda net, x: (lambda y: net.p(y) + y)(net.a(x))),
    'a layer that is derived': chain(Scaled(3, 3, 1)),
    'a sum in place': block(added_in_place),
}


@pytest.mark.parametrize('name', sorted(NOT_FUSED))
def test_not_fused(name):
    model = NOT_FUSED[name]
    assert fuse(model) is None
    assert not any('forward' in vars(module) for module in model.modules())


def test_other_networks_are_not_fused():
    assert fuse(conv()) is None


@pytest.mark.parametrize(
    'layer',
    [
        conv(1, 1),
        conv(1, 1, 1),
        nn.ConvTranspose2d(1, 1, 4, 2, 1, bias=False),
        nn.ConvTranspose2d(1, 1, 2, 2),
        bilinear_upsampling(1, 2),
        nn.ConvTranspose2d(3, 3, 1, groups=3, bias=False),
        bilinear_upsampling(3, 2),
        DCN(1, 1),
    ],
)
def test_no_memory_is_shared(layer):
    """Even where rearranged weights are the same numbers in the same order."""
    model, images = chain(layer), torch.randn(1, 3 if getattr(layer, 'groups', 1) == 3 else 1, 4, 6)
    fused = fuse(model)
    before = fused(images)['out'].clone()
    for parameter in model.parameters():
        parameter.data.fill_(7)
    assert torch.equal(fused(images)['out'], before)
