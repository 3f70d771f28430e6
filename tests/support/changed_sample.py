"""The sample's checkpoint with other heads, names or normalization; its figures are known."""

from collections import OrderedDict
from typing import Any, Callable

import numpy as np
import torch

from centernet.detection import COCO, Normalization
from centernet.networks.checkpoint import read_checkpoint
from centernet.sample import SAMPLE_WEIGHTS

#: images of the sample that are evaluated, and their AP with the unchanged checkpoint
IMAGES, AP = 40, 0.7353

StateDict = 'OrderedDict[str, torch.Tensor]'


def save_changed(path: Any, *changes: Callable[[StateDict], None], **meta: Any) -> str:
    """Write the sample's checkpoint after ``changes`` to its state dict, and return the path."""
    checkpoint = read_checkpoint(SAMPLE_WEIGHTS)
    state = OrderedDict((name, value.clone()) for name, value in checkpoint.state_dict.items())
    for change in changes:
        change(state)
    content = {'arch': 'dla_tiny', 'epoch': 1, 'input_size': [128, 128], 'state_dict': state}
    torch.save(dict(content, **meta), str(path))
    return str(path)


def trained_with(other: Normalization) -> Callable[[StateDict], None]:
    """Make the first layer expect another normalization. The same network, except at the border of the input,
    which the first convolution pads with zeros."""

    def change(state):
        weight = state['base.base_layer.0.weight']
        mean, std = (torch.tensor(np.float32(part)) for part in other)
        coco_mean, coco_std = (torch.tensor(np.float32(part)) for part in COCO)
        shift = weight * ((mean - coco_mean) / coco_std).view(1, 3, 1, 1)
        state['base.base_layer.1.running_mean'] -= shift.sum(3).sum(2).sum(1)
        state['base.base_layer.0.weight'] = weight * (std / coco_std).view(1, 3, 1, 1)

    return change


def size_per_class(state: StateDict) -> None:
    """Repeat the head wh for each class, as --cat_spec_wh has it."""
    classes = len(state['hm.2.weight'])
    for name in ('wh.2.weight', 'wh.2.bias'):
        state[name] = torch.cat([state[name]] * classes)


def four_sides(state: StateDict) -> None:
    """Make wh the distances to the sides: half the width or height each, as FairMOT has it."""
    for name in ('wh.2.weight', 'wh.2.bias'):
        state[name] = torch.cat([state[name]] * 2) / 2


def centred(state: StateDict) -> None:
    """Make reg 0.5 everywhere, which a network without reg means."""
    state['reg.2.weight'].zero_()
    state['reg.2.bias'].fill_(0.5)


def without_offsets(state: StateDict) -> None:
    """Remove the head reg, as with --not_reg_offset."""
    for name in [name for name in state if name.startswith('reg.')]:
        del state[name]


def with_head(name: str, channels: int) -> Callable[[StateDict], None]:
    """Add a head with weights of its own."""

    def change(state):
        random = np.random.RandomState(channels)
        for layer in ('0.weight', '0.bias'):
            state[f'{name}.{layer}'] = state['hm.' + layer].clone()
        shape = (channels,) + tuple(state['hm.2.weight'].shape[1:])
        state[name + '.2.weight'] = torch.from_numpy(random.standard_normal(shape).astype(np.float32))
        state[name + '.2.bias'] = torch.from_numpy(random.standard_normal(channels).astype(np.float32))

    return change


def renamed_heads(**names: str) -> Callable[[StateDict], None]:
    """Rename heads."""

    def change(state):
        for name in list(state):
            head, _, rest = name.partition('.')
            if head in names:
                state[f'{names[head]}.{rest}'] = state.pop(name)

    return change
