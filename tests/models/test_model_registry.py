"""create_model: what it rejects, what it suggests, and what it does not do."""

import socket
import subprocess
import sys

import pytest
import torch

from centernet.networks.architectures import ARCHITECTURES, create_model, divisor
from centernet.networks.architectures.heads import HEATMAP_BIAS, bilinear_upsampling
from centernet.networks.architectures.registry import TABLE, known_name
from centernet.system.errors import ArchitectureError

DEPTHS = (18, 34, 50, 101, 152)
DEFORMABLE = ['dla_34', 'dla_tiny'] + [f'resdcn_{depth}' for depth in DEPTHS]


def test_the_architectures_are_these():
    residual = [f'{family}_{depth}' for family in ('res', 'resdcn') for depth in DEPTHS]
    assert ARCHITECTURES == tuple(sorted(['dla_34', 'dla_tiny', 'dlav0_34', 'hourglass'] + residual))


@pytest.mark.parametrize(
    'given, meant',
    [
        ('res181', 'res_18'),
        ('resnet_1011', 'res_101'),
        ('dla35', 'dla_34'),
        ('dlav0', 'dlav0_34'),
        ('hourglas', 'hourglass'),
    ],
)
def test_an_unknown_architecture_gets_a_suggestion(given, meant):
    with pytest.raises(ArchitectureError) as caught:
        create_model(given, {'hm': 3})
    message = str(caught.value)
    assert f'did you mean {meant}?' in message
    assert all(name in message for name in ARCHITECTURES)
    assert '\n' not in message


@pytest.mark.parametrize(
    'given, meant',
    [
        ('res18', 'res_18'),
        ('resnet_101', 'res_101'),
        ('DLA34', 'dla_34'),
        ('dlav034', 'dlav0_34'),
        ('resdcn18', 'resdcn_18'),
        ('resnet_dcn_50', 'resdcn_50'),
        ('hourglass_104', 'hourglass'),
        ('large_hourglass', 'hourglass'),
        ('dla_34', 'dla_34'),
    ],
)
def test_other_spellings(given, meant):
    assert known_name(given) == meant


@pytest.mark.parametrize('given', ['yolov3', ''])
def test_a_name_like_no_other_gets_only_the_list(given):
    with pytest.raises(ArchitectureError, match=r'unknown architecture .* dla_34, ') as caught:
        create_model(given, {'hm': 3})
    assert 'did you mean' not in str(caught.value)


@pytest.mark.parametrize(
    'heads',
    [
        None,
        {},
        [('hm', 3)],
        {'hm': 0},
        {'hm': '3'},
        {'hm': True},
        {'': 3},
        {'a.b': 3},
        {3: 3},
        {'conv1': 3},
        {'layer1': 3},
        {'forward': 3},
        {'heads': 3},
        {'hm': 3, 'training': 2},
    ],
)
def test_invalid_heads_are_rejected(heads):
    with pytest.raises(ArchitectureError):
        create_model('res_18', heads)


def test_an_invalid_head_conv_is_rejected():
    with pytest.raises(ArchitectureError, match='head_conv'):
        create_model('hourglass', {'hm': 3}, 0)


def test_the_width_of_the_heads():
    assert [
        create_model(arch, {'hm': 3}).hm[0].weight.shape[0]
        for arch in ('dla_34', 'dlav0_34', 'res_18', 'resdcn_18', 'dla_tiny')
    ] == [256, 256, 64, 64, 64]
    assert create_model('res_18', {'hm': 3}, 8).hm[0].weight.shape == (8, 256, 3, 3)
    assert create_model('res_18', {'hm': 3}, 0).hm.weight.shape == (3, 256, 1, 1)


def test_the_divisor_of_the_input():
    assert divisor('hourglass') == 128
    assert {divisor(arch) for arch in ARCHITECTURES if arch != 'hourglass'} == {32}


def test_a_fresh_heat_map_is_nearly_empty():
    for arch in ('dla_tiny', 'dlav0_34', 'res_18', 'resdcn_18'):
        model = create_model(arch, {'hm': 3, 'wh': 2})
        assert model.hm[2].bias.tolist() == pytest.approx([HEATMAP_BIAS] * 3)
        assert model.wh[2].bias.tolist() == [0, 0]


@pytest.mark.parametrize('factor', [2, 4])
def test_upsampling_is_initially_bilinear(factor):
    ramp = torch.arange(6.0).view(1, 1, 1, 6).expand(1, 2, 6, 6).contiguous()
    up = bilinear_upsampling(2, factor)(ramp)[0, 1, 3 * factor].tolist()
    expected = [(x + 0.5) / factor - 0.5 for x in range(6 * factor)]
    inner = slice(factor, -factor)  # outside, a transposed convolution assumes 0
    assert up[inner] == pytest.approx(expected[inner], abs=1e-5)


def test_resdcn_upsampling_is_initially_bilinear_channel_by_channel():
    up = create_model('resdcn_18', {'hm': 3}).deconv_layers[15]
    x = torch.zeros(1, 64, 4, 4)
    x[0, 5] = 1
    y = up(x)
    assert y[0, 5, 2:6, 2:6].sub(1).abs().max().item() < 1e-6
    y[0, 5] = 0
    assert y.abs().max().item() == 0


def test_networks_without_deformable_convolutions_never_import_them():
    # One architecture per module: the depths of a family differ only in numbers.
    smallest = ['dlav0_34', 'hourglass', 'res_18']
    plain = {TABLE[arch].module for arch in ARCHITECTURES if arch not in DEFORMABLE}
    assert {TABLE[arch].module for arch in smallest} == plain
    code = (
        'import sys; from centernet.networks.architectures import create_model\n'
        f"for arch in {smallest}: create_model(arch, {{'hm': 2}})\n"
        "print([name for name in sys.modules if name.startswith('centernet.kernels')])"
    )
    assert subprocess.check_output([sys.executable, '-c', code]).decode().strip() == '[]'


def test_importing_the_package_imports_neither_torch_nor_a_network():
    code = (
        'import sys, centernet.networks.architectures\n'
        "print([name for name in sys.modules if name == 'torch' or"
        " name.startswith('centernet.networks.architectures.')])"
    )
    output = subprocess.check_output([sys.executable, '-c', code]).decode()
    assert output.strip() == "['centernet.networks.architectures.registry']"


def test_building_a_network_downloads_nothing(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('opened a network connection')

    monkeypatch.setattr(socket, 'socket', refuse)
    monkeypatch.setattr(socket, 'create_connection', refuse)
    for arch in ('res_18', 'resdcn_18', 'dla_34', 'dlav0_34'):
        create_model(arch, {'hm': 2})
