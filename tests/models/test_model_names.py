"""State dicts have the names and shapes of the published checkpoints (tests/data/reference)."""

import json
import os

import pytest

from centernet.networks.architectures import create_model
from centernet.networks.architectures.registry import TABLE

HEADS = {'hm': 80, 'wh': 2, 'reg': 2}
REFERENCE = os.path.join(os.path.dirname(__file__), os.pardir, 'data', 'reference')
WITH_REFERENCE = sorted(name[: -len('.json')] for name in os.listdir(REFERENCE))


def shapes(arch, head_conv=None):
    return {
        name: list(value.shape) for name, value in create_model(arch, HEADS, head_conv).state_dict().items()
    }


def reference(arch):
    with open(os.path.join(REFERENCE, arch + '.json'), encoding='utf-8') as file:
        return json.load(file)


def test_every_family_has_a_reference():
    assert WITH_REFERENCE == [
        'dla_34',
        'dlav0_34',
        'hourglass',
        'res_101',
        'res_18',
        'res_50',
        'resdcn_101',
        'resdcn_18',
    ]


@pytest.mark.parametrize('arch', WITH_REFERENCE)
def test_names_and_shapes_are_the_published_ones(arch):
    assert shapes(arch) == reference(arch)


def test_a_landmark_tells_the_family():
    # 'conv1.weight' is in the checkpoints of both residual families, every other landmark in only one
    # family's
    found = {
        arch: {TABLE[name].landmark for name in TABLE if TABLE[name].landmark in reference(arch)}
        for arch in WITH_REFERENCE
    }
    assert all(TABLE[arch].landmark in found[arch] for arch in found)
    assert {arch for arch, landmarks in found.items() if len(landmarks) > 1} == {'resdcn_18', 'resdcn_101'}


def bare(names):
    """Return the names of a residual network without block numbers, which do not depend on the depth."""
    return {
        '.'.join(part for i, part in enumerate(name.split('.')) if not (i == 1 and name.startswith('layer')))
        for name in names
    }


def blocks(names):
    """Return the number of blocks in each stage."""
    return [
        len({name.split('.')[1] for name in names if name.startswith(f'layer{stage}.')})
        for stage in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize(
    'arch, like, counts',
    [
        ('res_34', 'res_18', [3, 4, 6, 3]),
        ('resdcn_34', 'resdcn_18', [3, 4, 6, 3]),
        ('resdcn_50', 'resdcn_101', [3, 4, 6, 3]),
        ('res_152', 'res_101', [3, 8, 36, 3]),
        ('resdcn_152', 'resdcn_101', [3, 8, 36, 3]),
    ],
)
def test_depths_without_a_reference_differ_only_in_the_number_of_blocks(arch, like, counts):
    ours, theirs = shapes(arch), reference(like)
    assert blocks(ours) == counts != blocks(theirs)
    assert bare(ours) == bare(theirs)
    assert all(ours[name] == theirs[name] for name in set(ours) & set(theirs))


def test_dla_tiny_is_dla_34_node_for_node():
    tiny, full = shapes('dla_tiny'), reference('dla_34')
    assert list(tiny) == list(shapes('dla_34'))
    assert sum(name.endswith('conv_offset_mask.weight') for name in tiny) == 16
    for name, shape in tiny.items():
        assert len(shape) == len(full[name]) and shape[2:] == full[name][2:], name
        if not name.startswith(tuple(HEADS)) and 'conv_offset_mask' not in name:
            assert all(
                big == small or big in (4 * small, 8 * small) for small, big in zip(shape, full[name])
            ), name
