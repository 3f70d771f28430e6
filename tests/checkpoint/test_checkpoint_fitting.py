"""load_model: heads from shapes, unused entries, and what it says of a state dict that does not fit."""

import functools
from collections import OrderedDict

import pytest
import torch

from centernet.networks.architectures import create_model
from centernet.networks.checkpoint import load_model
from centernet.networks.checkpoint.fitting import read_heads
from centernet.system.errors import ArchitectureError, CheckpointError

HEADS = OrderedDict([('hm', 3), ('wh', 2), ('reg', 2)])


def save(path, state_dict, **more):
    torch.save(dict(more, state_dict=state_dict), str(path))
    return str(path)


def weights(arch='res_18', heads=HEADS, head_conv=None):
    return OrderedDict(drawn(arch, tuple(heads.items()), head_conv))


@functools.lru_cache(maxsize=None)
def drawn(arch, heads, head_conv):
    torch.manual_seed(0)
    return create_model(arch, OrderedDict(heads), head_conv).state_dict()


def refusal(*args, **kwargs):
    with pytest.raises(CheckpointError) as caught:
        load_model(*args, **kwargs)
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize('arch', ['res_18', 'dla_tiny', 'dlav0_34', 'resdcn_18'])
def test_the_weights_are_those_of_the_file(tmp_path, arch):
    state_dict = weights(arch)
    path = save(
        tmp_path / 'a.pth',
        OrderedDict(('module.' + name, value) for name, value in state_dict.items()),
        epoch=7,
    )
    loaded = load_model(path, arch)
    assert (loaded.arch, loaded.heads, loaded.notes, loaded.checkpoint.epoch) == (arch, HEADS, [], 7)
    assert not loaded.model.training
    read = loaded.model.state_dict()
    assert all(torch.equal(read[name], value) for name, value in state_dict.items())
    with torch.no_grad():
        assert list(loaded.model(torch.zeros(1, 3, 32, 32))) == list(HEADS)


def test_the_architecture_comes_from_the_checkpoint(tmp_path):
    assert load_model(save(tmp_path / 'a.pth', weights('dla_tiny'), arch='dla_tiny')).arch == 'dla_tiny'
    assert load_model(save(tmp_path / 'b.pth', weights('dla_34'))).arch == 'dla_34'
    assert load_model(save(tmp_path / 'c.pth', weights('res_18'), arch='dla_tiny'), 'res_18').arch == 'res_18'


def test_a_checkpoint_of_an_unknown_architecture(tmp_path):
    message = refusal(save(tmp_path / 'a.pth', weights(), arch='res_181'))
    assert str(tmp_path) in message and 'did you mean res_18?' in message


def test_other_spellings_of_an_architecture(tmp_path):
    path = save(tmp_path / 'a.pth', weights(), arch='resnet18')
    assert (
        load_model(path).arch == load_model(path, 'res18').arch == load_model(path, 'Res-18').arch == 'res_18'
    )


def test_an_unknown_architecture_is_said_before_the_file_is_read(tmp_path):
    with pytest.raises(ArchitectureError, match=r'did you mean res_18\?'):
        load_model(str(tmp_path / 'none.pth'), 'res_181')


@pytest.mark.parametrize(
    'heads, head_conv',
    [
        (OrderedDict([('hm', 80), ('wh', 2), ('reg', 2)]), 64),
        (OrderedDict([('reg', 2), ('hm', 1)]), 8),
        (OrderedDict([('hm', 5)]), 0),
        (OrderedDict([('hm', 1), ('wh', 2), ('hps', 34), ('reg', 2), ('hm_hp', 17), ('hp_offset', 2)]), 16),
    ],
)
def test_heads_and_their_width_are_read_off_the_shapes(tmp_path, heads, head_conv):
    for arch in ('res_18', 'dla_tiny'):
        read, width = read_heads(weights(arch, heads, head_conv))
        assert (read, width) == (heads, head_conv) and list(read) == list(heads)
    loaded = load_model(save(tmp_path / 'a.pth', weights('res_18', heads, head_conv)), 'res_18')
    assert loaded.heads == heads


@pytest.mark.parametrize('arch', ['resdcn_18', 'dlav0_34', 'hourglass'])
def test_heads_of_other_architectures(arch):
    assert read_heads(weights(arch, HEADS, 32)) == (HEADS, 32)


def test_counters_of_batchnorm_may_be_missing(tmp_path):
    state_dict = OrderedDict(
        (name, value) for name, value in weights().items() if not name.endswith('num_batches_tracked')
    )
    assert load_model(save(tmp_path / 'a.pth', state_dict), 'res_18').notes == []


def test_a_missing_entry(tmp_path):
    state_dict = weights()
    del state_dict['layer1.0.bn1.weight']
    message = refusal(save(tmp_path / 'a.pth', state_dict), 'res_18')
    assert 'a.pth does not fit res_18: 1 of its 150 entries missing (layer1.0.bn1.weight)' in message
    assert message.endswith('no architecture fits')


def test_renamed_layers_are_not_called_missing_alone(tmp_path):
    """One sees both names, so that one can rename them back."""
    state_dict = OrderedDict(
        (name.replace('layer1.0.', 'stage1.first.'), value) for name, value in weights().items()
    )
    message = refusal(save(tmp_path / 'a.pth', state_dict), 'res_18')
    assert '10 of its 150 entries missing (layer1.0.conv1.weight, layer1.0.bn1.weight, ' in message
    assert "12 of the file's unknown (stage1.first.conv1.weight, " in message


@pytest.mark.slow
def test_a_renamed_landmark(tmp_path):
    state_dict = OrderedDict(
        (name.replace('deconv_layers', 'upsample'), value) for name, value in weights('resdcn_18').items()
    )
    message = refusal(save(tmp_path / 'a.pth', state_dict), 'resdcn_18')
    assert 'deconv_layers.0.weight' in message and 'upsample.0.weight' in message


@pytest.mark.parametrize('arch', ['dla_tiny', 'resdcn_18'])
def test_the_offsets_of_mmcv(tmp_path, arch):
    """mmcv's ModulatedDeformConv2dPack names the same layer conv_offset."""
    state_dict = weights(arch)
    renamed = OrderedDict(
        (name.replace('conv_offset_mask', 'conv_offset'), value) for name, value in state_dict.items()
    )
    assert renamed.keys() != state_dict.keys()
    loaded = load_model(save(tmp_path / 'a.pth', renamed), arch)
    read = loaded.model.state_dict()
    assert all(torch.equal(read[name], value) for name, value in state_dict.items())


def test_offsets_without_masks_do_not_fit(tmp_path):
    state_dict = weights('resdcn_18')
    for name in [name for name in state_dict if 'conv_offset_mask' in name]:
        value = state_dict.pop(name)
        state_dict[name.replace('conv_offset_mask', 'conv_offset')] = value[:18]
    message = refusal(save(tmp_path / 'a.pth', state_dict), 'resdcn_18')
    assert '6 with another shape (deconv_layers.0.conv_offset_mask.weight is [18, ' in message


def test_notes(tmp_path):
    state_dict = weights('dla_tiny')
    assert load_model(save(tmp_path / 'a.pth', state_dict), 'dla_tiny').notes == []
    state_dict['base.fc.bias'] = torch.zeros(1000)
    (note,) = load_model(save(tmp_path / 'b.pth', state_dict), 'dla_tiny').notes
    assert note == "not used: 1 of the checkpoint's entries (base.fc.bias)"
    torch.save({'net': weights('dla_tiny')}, str(tmp_path / 'c.pth'))
    assert load_model(str(tmp_path / 'c.pth'), 'dla_tiny').notes == [
        'the weights are the entry net of the file'
    ]


def test_the_entry_that_is_asked_for(tmp_path):
    """The metrics are those of the right weights."""
    first, second = weights('dla_tiny'), OrderedDict()
    for name, value in first.items():
        second[name] = value + 1 if value.dtype == torch.float32 else value
    torch.save({'model': first, 'ema': {'state_dict': second}}, str(tmp_path / 'a.pth'))
    for key, expected in (('model', first), ('ema.state_dict', second)):
        loaded = load_model(str(tmp_path / 'a.pth'), 'dla_tiny', weights_key=key)
        read = loaded.model.state_dict()
        assert all(torch.equal(read[name], value) for name, value in expected.items())
        assert key in loaded.notes[0] and loaded.checkpoint.entry == key
    assert 'several networks: --weights-key is one of model, ema.state_dict' in refusal(
        str(tmp_path / 'a.pth'), 'dla_tiny'
    )


@pytest.mark.parametrize('gone', ['wh.2.weight', 'wh.2.bias', 'wh.0.weight'])
def test_a_head_with_a_part_missing_is_missed(tmp_path, gone):
    state_dict = weights()
    del state_dict[gone]
    assert f'1 of its 150 entries missing ({gone})' in refusal(save(tmp_path / 'a.pth', state_dict), 'res_18')


def test_a_wrong_shape(tmp_path):
    state_dict = weights()
    state_dict['layer1.0.conv1.weight'] = torch.zeros(64, 64, 1, 1)
    message = refusal(save(tmp_path / 'a.pth', state_dict), 'res_18')
    assert (
        '1 with another shape (layer1.0.conv1.weight is [64, 64, 1, 1] in the file, [64, 64, 3, 3] in res_18)'
        in message
    )


@pytest.mark.parametrize(
    'saved, asked',
    [
        ('res_18', None),
        pytest.param('res_18', 'res_50', marks=pytest.mark.slow),
        pytest.param('res_18', 'resdcn_18', marks=pytest.mark.slow),
        ('resdcn_18', 'res_18'),
        ('dla_tiny', None),
        ('dlav0_34', None),
        ('dla_34', 'dla_tiny'),
        ('dla_34', 'res_18'),
        pytest.param('res_50', 'res_18', marks=pytest.mark.slow),
        pytest.param('dla_34', 'dlav0_34', marks=pytest.mark.slow),
    ],
)
def test_a_wrong_architecture_names_the_one_that_fits(tmp_path, saved, asked):
    path = save(tmp_path / 'a.pth', weights(saved))
    message = refusal(path, asked)
    assert message.startswith('{} does not fit {}: '.format(path, asked or 'dla_34'))
    assert message.endswith(f'; give --arch {saved}, which fits')
    assert len(message) < 450 + len(path)


def test_a_network_that_is_no_centernet(tmp_path):
    torch.manual_seed(0)
    body = OrderedDict(
        (name, value) for name, value in weights().items() if not name.startswith(tuple(HEADS))
    )
    body['fc.weight'], body['fc.bias'] = torch.zeros(1000, 512), torch.zeros(1000)
    assert 'has no heads' in refusal(save(tmp_path / 'a.pth', body), 'res_18')
    other = {'features.weight': torch.zeros(3, 3), 'hm.2.weight': torch.zeros(3, 64, 1, 1)}
    assert refusal(save(tmp_path / 'b.pth', other), 'res_18').endswith('no architecture fits')


def test_a_head_with_the_name_of_a_part(tmp_path):
    state_dict = weights()
    state_dict['forward.2.weight'] = torch.zeros(3, 64, 1, 1)
    assert "'forward' cannot name a head" in refusal(save(tmp_path / 'a.pth', state_dict), 'res_18')
