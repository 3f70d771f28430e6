import json

import pytest
from support.onnx_files import detector

from centernet.runners.class_names import class_names, class_names_of_metadata, note_on_names
from centernet.runners.onnx_runner import OnnxRunner

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
    assert class_names(meta, 2) == PETS


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
    assert class_names(meta, 2) is None
    assert len(note_on_names(meta, 2)) == bool(meta and meta != {'meta': 'CLASSES'})


def test_names_in_the_metadata_of_a_file():
    assert class_names_of_metadata({'classes': json.dumps(PETS)}, 2) == PETS
    for text in ('', 'cat, dog', '[' * 100000, '3'):
        assert class_names_of_metadata({'classes': text}, 2) is None
    names = ['a', 'b', 'c', 'd']
    model = detector('onnx', batch=1, size=(64, 64), metadata=[('classes', json.dumps(names))])
    assert OnnxRunner(model, 'cpu', 1).class_names == names
    assert OnnxRunner(detector('onnx', batch=1, size=(64, 64)), 'cpu', 1).class_names is None
