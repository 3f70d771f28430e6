"""Checkpoints with random weights: every layer matters, nothing explodes, and offsets are not zero."""

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import nn

from centernet.detection import InputSpec, preprocess
from centernet.kernels import DCN
from centernet.networks.architectures import create_model
from centernet.sample.scene import draw_scene


def save_checkpoint(path: Any, arch: str, heads: Any, size: int = 128, seed: int = 0, **meta: Any) -> str:
    """Write a checkpoint and return its path.

    numpy draws the weights, so they do not depend on torch's version. BatchNorm's statistics fit them.
    """
    random = np.random.RandomState(seed)
    model = create_model(arch, OrderedDict(heads))

    def draw(parameter, scale, mean=0.0):
        values = mean + scale * random.standard_normal(tuple(parameter.shape))
        parameter.data.copy_(torch.from_numpy(values.astype(np.float32)))

    # Offsets up to a few pixels. Larger ones, which trained networks do not have, amplify float32's rounding
    # in 16 deformable convolutions in a row to 1e-4 of the heads, in torch as elsewhere.
    predictors = {id(module.conv_offset_mask) for module in model.modules() if isinstance(module, DCN)}
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, DCN)):
            inputs = module.weight.shape[0 if isinstance(module, nn.ConvTranspose2d) else 1]
            fan_in = inputs * module.weight[0, 0].numel()
            draw(module.weight, (0.25 if id(module) in predictors else 1.4) / fan_in**0.5)
            if module.bias is not None:
                draw(module.bias, 0.3)
        elif isinstance(module, nn.BatchNorm2d):
            # The last norm of a residual block is small: with 1, each block of hourglass doubles the
            # variance, and float32 in torch differs from float64 by 1.6e-4 of the heads.
            draw(module.weight, 0.1, 0.3 if name.endswith('.bn2') else 1.0)
            draw(module.bias, 0.1)
            module.momentum = 1.0  # take the statistics of the pictures below
    model.train()
    with torch.no_grad():
        pictures = np.stack(
            [preprocess(draw_scene([seed, number]).image, InputSpec(size, size))[0] for number in range(4)]
        )
        model(torch.from_numpy(pictures))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            # in maps of few cells, the variance of a channel can be almost 0 by chance
            module.running_var.clamp_(min=0.5 * float(module.running_var.mean()))
    model.eval()
    with torch.no_grad():
        outputs = model(torch.from_numpy(pictures))
    # Boxes of several cells, and scores well below 1: close to 1, neighbours would be equal.
    for name, mean, reach in (('wh', 8.0, 5.0), ('hm', -4.0, 5.0)):
        last = [module for module in getattr(model, name).modules() if isinstance(module, nn.Conv2d)][-1]
        factor = reach / float((outputs[name] - outputs[name].mean()).abs().max())
        last.weight.data *= factor
        last.bias.data = (last.bias.data - outputs[name].mean()) * factor + mean
    content = {'arch': arch, 'epoch': 1, 'input_size': [size, size], 'state_dict': model.state_dict()}
    torch.save(dict(content, **meta), str(path))
    return str(path)
