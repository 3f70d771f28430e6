"""Outputs of the networks: names, shapes, independence of the batch, arithmetic of the aggregation."""

import pytest
import torch
import torch.nn.functional as F

from centernet.networks.architectures import create_model

HEADS = {'hm': 3, 'wh': 2, 'reg': 2}


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def build(arch, heads=None, head_conv=None):
    torch.manual_seed(0)
    return create_model(arch, heads or HEADS, head_conv).eval()


@pytest.mark.parametrize('arch', ['dla_34', 'dla_tiny', 'dlav0_34', 'res_18', 'res_50', 'resdcn_18'])
def test_outputs_have_a_quarter_of_the_input_size(arch):
    out = build(arch)(torch.randn(2, 3, 64, 96))
    assert list(out) == list(HEADS)
    for name, channels in HEADS.items():
        assert out[name].shape == (2, channels, 16, 24)
        assert out[name].dtype == torch.float32
        assert torch.isfinite(out[name]).all()


@pytest.mark.parametrize('arch', ['dla_tiny', 'dlav0_34', 'res_18', 'resdcn_18'])
def test_an_image_gives_the_same_alone_and_in_a_batch(arch):
    model, images = build(arch), torch.randn(2, 3, 64, 64)
    together = model(images)
    for i in range(2):
        alone = model(images[i : i + 1])
        for name in HEADS:
            assert (alone[name] - together[name][i : i + 1]).abs().max().item() < 1e-5


def test_heads_keep_the_order_and_the_names_they_are_given():
    out = build('res_18', {'reg': 2, 'hm_hp': 17, 'hm': 1}, 0)(torch.zeros(1, 3, 32, 32))
    assert [(name, value.shape[1]) for name, value in out.items()] == [('reg', 2), ('hm_hp', 17), ('hm', 1)]


@pytest.mark.slow
def test_hourglass_gives_a_quarter_of_the_size_and_the_last_stack_only():
    model = build('hourglass', {'hm': 2, 'wh': 1})
    x = torch.randn(1, 3, 128, 256)
    before = model(x)
    assert before['hm'].shape == (1, 2, 32, 64) and before['wh'].shape == (1, 1, 32, 64)
    model.hm[0][1].bias.fill_(5.0)
    model.wh[1][1].bias.add_(1.0)
    after = model(x)
    assert torch.equal(after['hm'], before['hm'])
    assert (after['wh'] - before['wh'] - 1).abs().max().item() < 1e-5


def test_dlav0_joins_each_level_with_the_finer_one():
    """The upsampling path, written out with the names of the state dict: three aggregations, each by two."""
    model = build('dlav0_34')
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    weights = model.state_dict()
    x = torch.randn(1, 3, 64, 64)

    def unit(name, y):
        y = F.conv2d(y, weights[name + '.0.weight'], padding=weights[name + '.0.weight'].shape[-1] // 2)
        return F.relu(
            F.batch_norm(
                y,
                weights[name + '.1.running_mean'],
                weights[name + '.1.running_var'],
                weights[name + '.1.weight'],
                weights[name + '.1.bias'],
            )
        )

    def raise_to(ida, i, y):
        up = weights[f'dla_up.{ida}.up_{i}.weight']
        return F.conv_transpose2d(unit(f'dla_up.{ida}.proj_{i}', y), up, stride=2, padding=1, groups=len(up))

    def join(ida, i, fine, coarse):
        return unit(f'dla_up.{ida}.node_{i}', torch.cat([fine, raise_to(ida, i, coarse)], 1))

    stride4, stride8, stride16, stride32 = model.base(x)[2:]
    a1 = join('ida_0', 1, stride16, stride32)
    b1 = join('ida_1', 1, stride8, stride16)
    b2 = join('ida_1', 2, b1, a1)
    c1 = join('ida_2', 1, stride4, stride8)
    c2 = join('ida_2', 2, c1, b1)
    c3 = join('ida_2', 3, c2, b2)
    expected = F.conv2d(
        F.relu(F.conv2d(c3, weights['wh.0.weight'], weights['wh.0.bias'], padding=1)),
        weights['wh.2.weight'],
        weights['wh.2.bias'],
    )
    assert (model(x)['wh'] - expected).abs().max().item() < 1e-5
    assert expected.abs().max().item() > 1e-4
