"""Checkpoints with random weights that are worth comparing: every layer matters, nothing explodes, and
offsets are not zero."""

from collections import OrderedDict

import numpy as np
import torch
from torch import nn

from centernet.dcn import DCN
from centernet.detection import InputSpec, preprocess
from centernet.models import create_model
from centernet.sample.scene import draw_scene


def save_checkpoint(path, arch, heads, size=128, seed=0, **meta):
    """Write a checkpoint whose weights numpy draws, so that they do not hang on torch's version; BatchNorm's
    statistics fit them."""
    random = np.random.RandomState(seed)
    model = create_model(arch, OrderedDict(heads))

    def draw(parameter, scale, middle=0.0):
        parameter.data.copy_(
            torch.from_numpy(
                (middle + scale * random.standard_normal(tuple(parameter.shape))).astype(np.float32)
            )
        )

    # Offsets of a fraction of a pixel to a few: with larger ones 16 deformable convolutions in a row amplify
    # float32's rounding to 1e-4 of the heads, in torch as elsewhere, and trained networks do not have them.
    predictors = {id(module.conv_offset_mask) for module in model.modules() if isinstance(module, DCN)}
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, DCN)):
            fan_in = (
                module.weight.shape[0 if isinstance(module, nn.ConvTranspose2d) else 1]
                * module.weight[0, 0].numel()
            )
            draw(module.weight, (0.25 if id(module) in predictors else 1.4) / fan_in**0.5)
            if module.bias is not None:
                draw(module.bias, 0.3)
        elif isinstance(module, nn.BatchNorm2d):
            # A residual block's last norm is small: with 1, each of hourglass's blocks doubles the variance,
            # and torch's own float32 is 1.6e-4 of the heads away from float64.
            draw(module.weight, 0.1, 0.3 if name.endswith('.bn2') else 1.0)
            draw(module.bias, 0.1)
            module.momentum = 1.0  # the statistics of the pictures below, like those that it will see
    model.train()
    with torch.no_grad():
        pictures = np.stack(
            [preprocess(draw_scene([seed, number]).image, InputSpec(size, size))[0] for number in range(4)]
        )
        model(torch.from_numpy(pictures))
    for module in model.modules():
        if isinstance(
            module, nn.BatchNorm2d
        ):  # where a map has few cells, a channel's variance can be next to nothing by chance
            module.running_var.clamp_(min=0.5 * float(module.running_var.mean()))
    model.eval()
    with torch.no_grad():
        outputs = model(torch.from_numpy(pictures))
    # Boxes of some cells, and scores with room above and below: where they are close to 1, neighbours are
    # equal.
    for name, middle, reach in (('wh', 8.0, 5.0), ('hm', -4.0, 5.0)):
        last = [module for module in getattr(model, name).modules() if isinstance(module, nn.Conv2d)][-1]
        factor = reach / float((outputs[name] - outputs[name].mean()).abs().max())
        last.weight.data *= factor
        last.bias.data = (last.bias.data - outputs[name].mean()) * factor + middle
    torch.save(
        dict(
            {'arch': arch, 'epoch': 1, 'input_size': [size, size], 'state_dict': model.state_dict()}, **meta
        ),
        str(path),
    )
    return str(path)
