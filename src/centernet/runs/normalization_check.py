"""Find out whether a network was trained with another normalization than the one in use.

The first BatchNorm keeps the mean and the variance of what the first convolution gave in training. Another
normalization gives others: 0.5 / 1 in place of COCO's makes the variances twelve times as small.
"""

from typing import Optional, Sequence, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..coco import CocoData, read_image
from ..detection import NORMALIZATIONS, InputSpec, Normalization, warp
from ..detection.preprocess import normalise
from ..system.errors import DataError

Layers = Tuple[nn.Conv2d, nn.BatchNorm2d]
#: images that are looked at
_IMAGES = 8
# The distance is about 0.7 for the right one (augmentation, other images), and 2.3 to 4 for half and unit
# against coco, pascal or each other, either way round. coco and pascal, 0.5 apart, cannot be told apart.
_CLEARLY, _CLOSE = 1.2, 1.2


def better_normalization(
    layers: Optional[Layers], data: CocoData, ids: Sequence[int], spec: InputSpec
) -> Optional[str]:
    """Return the name of a normalization that clearly fits a network better than ``spec``'s, or None.

    Args:
        layers: the convolution that reads the image, and the trained BatchNorm behind it
            (:meth:`Network.first_layers <centernet.networks.Network.first_layers>`); None if there are no
            such.
        data, ids: the images; the first that can be read are looked at.
        spec: the input, with the normalization in use.
    """
    pixels = _pixels(data, ids, spec) if layers else []
    if not pixels:
        return None
    distances = {name: _distance(layers, pixels, known) for name, known in NORMALIZATIONS.items()}
    best = min(distances, key=distances.get)
    used = _distance(layers, pixels, spec.normalization)
    return best if distances[best] < _CLOSE and used - distances[best] > _CLEARLY else None


def _pixels(data: CocoData, ids: Sequence[int], spec: InputSpec):
    """The first images in the size of the network's input, uint8 [H, W, 3]."""
    found = []
    for image_id in ids[:_IMAGES]:
        try:
            found.append(warp(read_image(data.file(image_id)), spec)[0])
        except DataError:  # reported when it is evaluated
            continue
    return found


def _distance(layers, pixels, normalization: Normalization) -> float:
    """How badly a normalization fits the first BatchNorm: the mean over its channels of the absolute
    logarithm of the ratio of the variances, and of the difference of the means in standard deviations, added
    up."""
    convolution, norm = layers
    weight = convolution.weight.detach().cpu().float()
    count, total, squares = 0, 0.0, 0.0
    for image in pixels:  # one by one: with keep_res their sizes differ
        planes = torch.from_numpy(normalise(image, normalization)).unsqueeze(0)
        with torch.no_grad():
            found = F.conv2d(planes, weight, None, convolution.stride, convolution.padding).double().numpy()
        count += found[0, 0].size
        total, squares = total + found.sum(axis=(0, 2, 3)), squares + (found**2).sum(axis=(0, 2, 3))
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 1e-12)
    if convolution.bias is not None:
        mean = mean + convolution.bias.detach().cpu().double().numpy()
    known_mean, known = (part.cpu().double().numpy() for part in (norm.running_mean, norm.running_var))
    alive = known > 1e-4 * known.max()  # channels that never fire say nothing
    ratio = np.abs(np.log(variance[alive] / known[alive]))
    shift = np.abs(mean - known_mean)[alive] / np.sqrt(known[alive])
    return float(ratio.mean() + shift.mean())
