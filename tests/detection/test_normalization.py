"""Normalizations: their names and numbers, and what they do to pixels."""

import numpy as np
import pytest

from centernet.detection import COCO, NORMALIZATIONS, InputSpec, preprocess
from centernet.detection.preprocess import normalise
from centernet.networks.facts import facts_of_entries, facts_of_metadata
from centernet.options.normalization import Normalization, of_numbers, parse_normalization
from centernet.system.errors import OptionError

HALF = NORMALIZATIONS['half']


@pytest.mark.parametrize('name', list(NORMALIZATIONS))
def test_every_value_is_what_the_formula_says(name):
    image = np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3, axis=2)
    used = NORMALIZATIONS[name]
    # as CenterNet computes it: float32 numbers, float64 arithmetic, rounded once
    mean, std = (np.array(part, np.float32).reshape(1, 1, 3) for part in used)
    expected = ((image / 255.0 - mean) / std).astype(np.float32).transpose(2, 0, 1)
    assert np.array_equal(normalise(image, used), expected)
    planes, _ = preprocess(image, InputSpec(16, 16, normalization=used))
    assert np.array_equal(planes, expected)
    assert parse_normalization(name) == used and str(used) == name == used.name


def test_numbers_are_blue_green_red_and_are_recognised():
    assert parse_normalization('0.1,0.2,0.3/1,2,3') == Normalization((0.1, 0.2, 0.3), (1, 2, 3))
    assert str(parse_normalization('0.1,0.2,0.3/1,2,3')) == '0.1,0.2,0.3/1,2,3'
    assert str(parse_normalization('0.5,0.5,0.5/1,1,1')) == 'half'
    image = np.zeros((1, 1, 3), np.uint8)
    image[0, 0] = 255, 0, 51
    found = normalise(image, parse_normalization('0,0,0.2/1,1,2')).ravel().tolist()
    assert found == pytest.approx([1, 0, 0], abs=1e-6)


@pytest.mark.parametrize(
    'text', ['', 'COCO', '1,1,1', '0,0/1,1', '0,0,0/1,0,1', '0,0,0/1,1,-1', '0,0,0/1,1,inf']
)
def test_anything_else_is_refused(text):
    with pytest.raises(OptionError, match='not a normalization: use coco'):
        parse_normalization(text)


@pytest.mark.parametrize(
    'meta, expected',
    [
        ({}, None),
        ({'normalization': 'half'}, HALF),
        ({'normalization': {'mean': [0.5] * 3, 'std': [1] * 3}}, HALF),
        ({'mean': [0.5, 0.5, 0.5], 'std': [1.0, 1.0, 1.0]}, HALF),
        (
            {'opt': {'mean': [[[0.5, 0.5, 0.5]]], 'std': [[[1.0, 1.0, 1.0]]]}},
            HALF,
        ),  # as CenterNet's opt has it
        ({'args': {'mean': [127.5] * 3, 'std': [255.0] * 3}}, HALF),  # of pixels from 0 to 255
        ({'opt': {'mean': list(np.float32(COCO.mean).tolist()), 'std': np.float32(COCO.std).tolist()}}, COCO),
        ({'normalization': 'something else'}, None),
        ({'mean': 0.5, 'std': 1.0}, None),
        ({'normalization': [[0.5] * 3, [1] * 3]}, HALF),
        ({'mean': [0.5, 0.5], 'std': [1.0, 1.0]}, None),
        ({'mean': [True] * 3, 'std': [1.0] * 3}, None),
        ({'mean': [0.5] * 3, 'std': [0.0] * 3}, None),
        ({'mean': [10**400] * 3, 'std': [1] * 3}, None),
        ({'opt': 'half', 'args': None}, None),
    ],
)
def test_what_a_checkpoint_records(meta, expected):
    facts = facts_of_entries(meta)
    found = facts.normalization
    places = [place for place in (meta, meta.get('opt')) if isinstance(place, dict)]
    given = any(key in place for place in places for key in ('mean', 'normalization'))
    assert bool(facts.notes) == (given and expected is None)
    assert (found is None) == (expected is None)
    assert expected is None or (found.same(expected) and found.name == expected.name)


@pytest.mark.parametrize(
    'text', [None, '', 'x', '3', '[1, 2]', '["a", "b", "c"]', '[1e999, 0, 0]', '[' * 5000]
)
def test_metadata_that_anybody_wrote(text):
    assert facts_of_metadata({'mean': '[0.5, 0.5, 0.5]', 'std': '[1, 1, 1]'}).normalization == HALF
    given = {'std': '[1, 1, 1]'} if text is None else {'mean': text, 'std': '[1, 1, 1]'}
    facts = facts_of_metadata(given)
    assert facts.normalization is None and facts.notes


def test_nested_numbers():
    assert of_numbers(((0.5,), [0.5, [0.5]]), [1, 1, 1]) == HALF
    assert of_numbers([0.5, 0.5, 0.5, 0.5], [1, 1, 1]) is None


@pytest.mark.parametrize(
    'meta, expected',
    [
        ({}, None),
        ({'input_size': [96, 128]}, (96, 128)),
        ({'input_size': 128}, (128, 128)),
        ({'input_size': [3, 96, 128]}, (96, 128)),
        ({'opt': {'input_h': 96, 'input_w': 128, 'input_res': 128}}, (96, 128)),
        ({'args': {'input_h': -1, 'input_w': -1, 'input_res': 128}}, (128, 128)),
        ({'input_size': '96x128'}, None),
        ({'input_size': [0, 128]}, None),
    ],
)
def test_the_size_that_a_checkpoint_records(meta, expected):
    facts = facts_of_entries(meta)
    assert facts.stored == expected
    assert bool(facts.notes) == (bool(meta) and expected is None)
