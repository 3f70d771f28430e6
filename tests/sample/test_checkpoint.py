import os

import numpy as np
import pytest
import torch
from training_targets import gaussian_radius, loss, make_targets

from centernet.networks.checkpoint import load_model
from centernet.sample import SAMPLE_WEIGHTS
from centernet.sample.scene import CATEGORIES


def test_the_checkpoint_describes_itself():
    loaded = load_model(SAMPLE_WEIGHTS)
    meta = loaded.checkpoint.meta
    assert loaded.arch == 'dla_tiny'
    assert dict(loaded.heads) == {'hm': 4, 'wh': 2, 'reg': 2}
    assert meta['classes'] == [name for _, name in CATEGORIES]
    assert meta['input_size'] == [128, 128]
    assert os.path.getsize(SAMPLE_WEIGHTS) <= 3 << 20


def test_its_deformable_convolutions_deform():
    # otherwise a bug in them would not show as lost AP
    state_dict = load_model(SAMPLE_WEIGHTS).checkpoint.state_dict
    offsets = [tensor for name, tensor in state_dict.items() if name.endswith('conv_offset_mask.weight')]
    assert len(offsets) == 16
    assert min(float(tensor[:18].abs().max()) for tensor in offsets) > 0.01


def iou(a, b):
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@pytest.mark.parametrize('width, height', [(10, 10), (40, 10), (8, 25), (100, 60), (3, 3)])
def test_corners_within_the_radius_keep_the_overlap(width, height):
    radius = gaussian_radius(width, height)
    box = (0, 0, width, height)

    def worst(by):
        moves = [(by, by, by, by), (-by, -by, by, by), (by, by, -by, -by)]
        moved = [tuple(side + step for side, step in zip(box, move)) for move in moves]
        return min(iou(box, other) if other[2] > other[0] and other[3] > other[1] else 0 for other in moved)

    assert worst(radius) >= 0.7 > worst(radius + 1)


def test_targets_are_where_the_boxes_are():
    targets = make_targets([(2, 4, 6.5, 10), (0, 0, 3, 3)], [1, 0], 3, (16, 12))
    assert np.argwhere(targets['hm'] == 1).tolist() == [[0, 1, 1], [1, 7, 4]]
    assert targets['wh'][:, 7, 4].tolist() == [4.5, 6]
    assert targets['reg'][:, 7, 4].tolist() == [0.25, 0]
    assert targets['at'].sum() == 2 and targets['hm'][2].max() == 0
    assert 0 < targets['hm'][1, 7, 5] < 1


def test_the_loss_is_that_of_the_paper():
    torch.manual_seed(0)
    arrays = make_targets([(2, 4, 6.5, 10), (0, 0, 3, 3)], [1, 0], 3, (16, 12))
    targets = {name: torch.from_numpy(array)[None] for name, array in arrays.items()}
    outputs = {
        'hm': torch.randn(1, 3, 16, 12),
        'wh': torch.randn(1, 2, 16, 12),
        'reg': torch.randn(1, 2, 16, 12),
    }
    heat = 0.0
    for probability, wanted in zip(
        torch.sigmoid(outputs['hm']).view(-1).tolist(), arrays['hm'].reshape(-1).tolist()
    ):
        if wanted == 1:
            heat -= (1 - probability) ** 2 * np.log(probability)
        else:
            heat -= (1 - wanted) ** 4 * probability**2 * np.log(1 - probability)
    lines = {}
    for name in ('wh', 'reg'):
        difference = np.abs(outputs[name][0].numpy() - arrays[name])
        lines[name] = difference[:, 7, 4].sum() + difference[:, 1, 1].sum()
    expected = (heat + 0.1 * lines['wh'] + lines['reg']) / 2
    assert abs(loss(outputs, targets).item() - expected) < 1e-3 * expected


def test_the_loss_of_the_targets_is_almost_zero():
    arrays = make_targets([(2, 4, 6.5, 10)], [1], 2, (16, 12))
    targets = {name: torch.from_numpy(array)[None] for name, array in arrays.items()}
    outputs = {'hm': (targets['hm'] == 1).float() * 40 - 20, 'wh': targets['wh'], 'reg': targets['reg']}
    assert loss(outputs, targets).item() < 1e-6
