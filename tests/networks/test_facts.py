"""What files say of their networks, in checkpoints' entries and in metadata; normalizations are in
tests/detection."""

import json

import pytest
from support.onnx_files import detector

from centernet.networks.facts import facts_of_entries, facts_of_metadata
from centernet.networks.runtimes.onnx_runtime import OnnxNetwork

PETS = ['cat', 'dog']


@pytest.mark.parametrize(
    'meta',
    [
        {'classes': PETS},
        {'class_names': PETS},
        {'names': {'0': 'cat', '1': 'dog'}},
        {'names': {1: 'dog', 0: 'cat'}},
        {'CLASSES': PETS},
        {'meta': {'CLASSES': PETS, 'mmcv_version': '1.3'}},
        {'classes': 2, 'names': PETS},
        {'classes': 'cat, dog'},
        {'classes': {'cat': 0, 'dog': 1}},
        {'classes': {1: 'cat', 2: 'dog'}},
        {'classes': ['__background__', 'cat', 'dog']},
        {'args': {'class_names': PETS}},
    ],
)
def test_where_names_are_found(meta):
    assert facts_of_entries(meta, 2).class_names == tuple(PETS)


@pytest.mark.parametrize(
    'meta',
    [
        {},
        {'classes': PETS + ['bird']},
        {'classes': ['cat', 'cat']},
        {'classes': ['cat', 3]},
        {'classes': 'ab'},
        {'names': {'0': 'cat', '2': 'dog'}},
        {'names': {'0': 'cat', '1': None}},
        {'meta': 'CLASSES'},
    ],
)
def test_what_is_not_a_list_of_names(meta):
    facts = facts_of_entries(meta, 2)
    assert facts.class_names is None
    assert len(facts.notes) == bool(meta and meta != {'meta': 'CLASSES'})


def test_names_in_the_metadata_of_a_file():
    assert facts_of_metadata({'classes': json.dumps(PETS)}, 2).class_names == tuple(PETS)
    assert facts_of_metadata({'classes': 'cat, dog'}, 2).class_names == tuple(PETS)
    for text in ('', '[' * 100000, '3'):
        assert facts_of_metadata({'classes': text}, 2).class_names is None
    names = ('a', 'b', 'c', 'd')
    model = detector('onnx', batch=1, size=(64, 64), metadata=[('classes', json.dumps(names))])
    assert OnnxNetwork(model, 'cpu', 1).info.class_names == names
    assert OnnxNetwork(detector('onnx', batch=1, size=(64, 64)), 'cpu', 1).info.class_names is None


@pytest.mark.parametrize(
    'value, size',
    [
        ([128, 96], (128, 96)),
        (128, (128, 128)),
        ([1, 3, 128, 96], (128, 96)),
        (['a', 'b'], None),
        ([128, 96.0], None),
        ([True, True], None),
        ([0, 64], None),
        ([-64, 64], None),
        ([64], None),
        ('64', None),
        ([128, 99999999], None),
        ({'128': 96}, None),
    ],
)
def test_a_size_is_positive_whole_numbers(value, size):
    assert facts_of_entries({'input_size': value}).stored == size
    facts = facts_of_metadata({'input_size': json.dumps(value)})
    assert facts.stored == size and bool(facts.notes) == (size is None)


def test_what_is_done_otherwise_is_a_warning():
    (note,) = facts_of_metadata({'colour_order': 'RGB', 'normalisation': '(pixel / 255 - mean) / std'}).notes
    assert note.startswith('warning: ') and "'RGB'" in note and "'BGR'" in note
