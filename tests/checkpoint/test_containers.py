"""Where read_checkpoint finds the state dict, and how it names the tensors."""

from collections import OrderedDict

import pytest
import torch
from support.checkpoint_files import save

from centernet.networks.checkpoint import read_checkpoint
from centernet.system.errors import CheckpointError


def weights(value=1.0):
    return OrderedDict([('conv.weight', torch.full((2, 1, 3, 3), value)), ('conv.bias', torch.zeros(2))])


def read(path, saved, key=None):
    save(path / 'a.pth', saved, 'legacy')
    return read_checkpoint(path / 'a.pth', key)


def refusal(path, saved, key=None):
    with pytest.raises(CheckpointError) as caught:
        read(path, saved, key)
    assert '\n' not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


class Shadow(dict):
    """A dictionary as EasyDict and CfgNode are."""


@pytest.mark.parametrize('name', ['state_dict', 'model', 'generator'])
def test_a_single_entry(tmp_path, name):
    saved = {
        'epoch': 3,
        name: weights(),
        'optimizer': {'state': {0: {'exp_avg': torch.ones(2, 2)}}},
        'optimizer_state': {'conv.weight': torch.ones(2, 2)},
        'lr_scheduler': {'base': torch.ones(1, 1)},
        'grad_scaler': {'scale': torch.ones(1, 1)},
        'rng': {'torch': torch.ones(5, dtype=torch.uint8)},
        'metrics': {'loss': torch.tensor(0.5)},
    }
    found = read(tmp_path, saved)
    assert (list(found.state_dict), found.entry, found.epoch) == (['conv.weight', 'conv.bias'], name, 3)
    assert found.meta == {'rng': {'torch': [1] * 5}, 'metrics': {'loss': 0.5}}


@pytest.mark.parametrize(
    'saved, entry',
    [
        ({'ema': {'state_dict': weights(), 'decay': 0.999}}, 'ema.state_dict'),
        ({'checkpoint': Shadow(model=weights())}, 'checkpoint.model'),
        ({'net': Shadow(weights())}, 'net'),
        ({'a': {'b': {'c': weights()}, 'd': weights()}}, 'a.d'),
        ({'mean': torch.zeros(3), 'net': weights()}, 'net'),
        ({'net': {'w': torch.ones(2)}}, 'net'),
        ({'w': torch.ones(2), 'metrics': {'loss': torch.tensor(0.5)}}, ''),
        ({'model': weights(), 'alias': 3, 'deep': {'deeper': {'w': torch.ones(1)}}}, 'model'),
    ],
)
def test_where_it_is(tmp_path, saved, entry):
    assert read(tmp_path, saved).entry == entry


def test_several_are_an_error_that_names_them(tmp_path):
    saved = {'state_dict': weights(), 'ema': {'state_dict': weights(2.0), 'decay': 0.5}, 'best': weights(3.0)}
    message = refusal(tmp_path, saved)
    assert '--weights-key is one of state_dict, best, ema.state_dict' in message
    found = read(tmp_path, saved, 'ema.state_dict')
    assert found.state_dict['conv.weight'].mean() == 2 and found.entry == 'ema.state_dict'
    assert found.meta == {}
    found = read(tmp_path, saved, 'best')
    assert found.state_dict['conv.weight'].mean() == 3
    assert found.meta == {'ema': {'state_dict': None, 'decay': 0.5}}


@pytest.mark.parametrize('key', ['none', 'optimizer', 'epoch', 'log', 'ema.conv.weight'])
def test_a_key_that_is_none(tmp_path, key):
    saved = {'epoch': 3, 'model': weights(), 'ema': weights(), 'log': {'loss': 1.0}, 'optimizer': weights()}
    message = refusal(tmp_path, saved, key)
    assert f'--weights-key {key}: ' in message and message.endswith(' are model, ema')


def test_a_bare_state_dict_with_another_one_beside_it(tmp_path):
    """Its own convolutions are what counts; a table of two dimensions is no network."""
    own = {'a': torch.ones(1, 1, 1, 1)}
    assert list(read(tmp_path, dict(own, teacher=weights())).state_dict) == ['a']
    assert read(tmp_path, {'model': weights(), 'confusion': torch.ones(3, 3)}).entry == 'model'


def test_a_key_for_a_bare_state_dict(tmp_path):
    assert '--weights-key ema: ' in refusal(tmp_path, weights(), 'ema')
    assert refusal(tmp_path, weights(), 'ema').endswith(' are none')


@pytest.mark.parametrize(
    'names', [['module.model.a', 'model.module.b'], ['_orig_mod.module.a', 'b'], ['a', 'module.module.b']]
)
def test_prefixes(tmp_path, names):
    saved = OrderedDict((name, torch.full((2, 2), float(index))) for index, name in enumerate(names))
    for found in (read(tmp_path, saved), read(tmp_path, {'state_dict': saved})):
        assert {name: value.mean() for name, value in found.state_dict.items()} == {'a': 0, 'b': 1}


def test_what_only_looks_like_a_prefix_stays(tmp_path):
    saved = {'modules.a': torch.ones(1), 'b.module.c': torch.ones(1), 'model': torch.ones(1)}
    assert list(read(tmp_path, saved).state_dict) == list(saved)


def test_what_is_beside_the_tensors_is_left_out(tmp_path):
    saved = dict(weights(), epoch=7, arch='res_18', lr=0.5, size=[1, 2], on=torch.device('cpu'), note=None)
    found = read(tmp_path, saved)
    assert list(found.state_dict) == ['conv.weight', 'conv.bias']
    assert (found.epoch, found.entry) == (7, '')
    assert found.meta == {'arch': 'res_18', 'lr': 0.5, 'size': [1, 2]}
    assert list(read(tmp_path, {'state_dict': saved}).state_dict) == ['conv.weight', 'conv.bias']
