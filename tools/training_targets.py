"""Training targets and loss of CenterNet ("Objects as Points", section 3)."""

from typing import Dict, Sequence, Tuple

import numpy as np
import torch
import torch.nn.functional as F

#: weights of the losses of wh and reg (section 3, below equation 4)
SIZE_WEIGHT, OFFSET_WEIGHT = 0.1, 1.0


def make_targets(
    boxes: Sequence[Sequence[float]], classes: Sequence[int], num_classes: int, size: Tuple[int, int]
) -> Dict[str, np.ndarray]:
    """Return the targets of one image.

    Args:
        boxes: float [n, 4], x1, y1, x2, y2 in output cells.
        classes: int [n].
        num_classes: C.
        size: (h, w) of the output.

    Returns:
        float32 arrays: ``hm`` [C, h, w], a Gaussian with peak 1 at each centre; ``wh`` and ``reg`` [2, h, w],
        set at the centres; ``at`` [1, h, w], 1 at the centres.
    """
    height, width = size
    hm = np.zeros((num_classes, height, width), np.float32)
    wh, reg = np.zeros((2, 2, height, width), np.float32)
    at = np.zeros((1, height, width), np.float32)
    y, x = np.ogrid[:height, :width]
    for (x1, y1, x2, y2), index in zip(boxes, classes):
        centre_x, centre_y = (x1 + x2) / 2, (y1 + y2) / 2
        column, row = min(int(centre_x), width - 1), min(int(centre_y), height - 1)
        deviation = (2 * gaussian_radius(x2 - x1, y2 - y1) + 1) / 6
        peak = np.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * deviation**2))
        np.maximum(hm[index], peak, out=hm[index])
        wh[:, row, column] = x2 - x1, y2 - y1
        reg[:, row, column] = centre_x - column, centre_y - row
        at[0, row, column] = 1
    return {'hm': hm, 'wh': wh, 'reg': reg, 'at': at}


def gaussian_radius(width: float, height: float, overlap: float = 0.7) -> int:
    """Return how far, in cells, both corners of a box may move for an IoU of at least ``overlap``.

    Law and Deng, CornerNet, section 3.2. The minimum over three moves: both outwards, both inwards, and both
    in the same direction.
    """
    product, total = width * height, width + height

    def smaller_root(a, b, c):
        return (b - np.sqrt(max(b * b - 4 * a * c, 0))) / (2 * a)

    shifted = smaller_root(1, total, product * (1 - overlap) / (1 + overlap))
    inwards = smaller_root(4, 2 * total, (1 - overlap) * product)
    outwards = (
        -2 * overlap * total + np.sqrt((2 * overlap * total) ** 2 + 16 * overlap * (1 - overlap) * product)
    ) / (8 * overlap)
    return max(0, int(min(shifted, inwards, outwards)))


def loss(outputs: Dict[str, torch.Tensor], targets: Dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the training loss (equations 1 to 4), a scalar.

    Args:
        outputs: ``hm`` logits [N, C, h, w], ``wh`` and ``reg`` [N, 2, h, w].
        targets: batched tensors from :func:`make_targets`.
    """
    hm, wanted, at = outputs['hm'], targets['hm'], targets['at']
    objects = at.sum().clamp(min=1)
    probability = torch.sigmoid(hm)
    positive = (wanted == 1).to(hm.dtype)
    hit = positive * (1 - probability) ** 2 * F.logsigmoid(hm)
    miss = (1 - positive) * (1 - wanted) ** 4 * probability**2 * F.logsigmoid(-hm)
    heat = -(hit + miss).sum() / objects
    size = (torch.abs(outputs['wh'] - targets['wh']) * at).sum() / objects
    offset = (torch.abs(outputs['reg'] - targets['reg']) * at).sum() / objects
    return heat + SIZE_WEIGHT * size + OFFSET_WEIGHT * offset
