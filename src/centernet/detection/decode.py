"""Decode the network's heads into scored boxes, in output cells."""

from typing import Optional

import torch
import torch.nn.functional as F

from ..kernels import layers
from .heads import Heads, RawBoxes

# On the CPU, images are scored in groups of about this many heat map values. The C library returns larger
# blocks of memory to the system right away, and page-faulting them in again costs several times the
# arithmetic.
_CPU_GROUP = 1 << 21


def decode(heads: Heads, flipped: Optional[Heads] = None, k: int = 100) -> RawBoxes:
    """Find the ``k`` best peaks of the heat maps and their boxes.

    A peak is a cell that is not lower than any of its eight neighbours; all other cells score 0. The best
    ``k`` of each class are selected first, then the best ``k`` of those, so that ties are broken as in the
    published code.

    Args:
        heads: outputs for N images; not modified.
        flipped: outputs for the same images mirrored left to right (flip test). Probabilities and sizes are
            averaged; the offsets are those of ``heads``.
        k: number of boxes per image; limited by the number of cells of all classes.

    Returns:
        RawBoxes, on the device of the heads.

    Source: "Objects as Points", section 3 ("From points to bounding boxes").
    """
    with torch.no_grad():
        scores, classes, cells = _best_peaks(heads.hm, None if flipped is None else flipped.hm, k)
        return RawBoxes(boxes_at(heads, classes, cells, flipped), scores, classes)


def boxes_at(
    heads: Heads, classes: torch.Tensor, cells: torch.Tensor, flipped: Optional[Heads] = None
) -> torch.Tensor:
    """Return the boxes of these classes that are centred in these cells.

    Args:
        heads, flipped: as for :func:`decode`.
        classes, cells: int64 [N, k]; a cell is row * w + column.

    Returns:
        float32 [N, k, 4], x1, y1, x2, y2 in output cells.
    """
    if heads.reg is None:
        offset_x = offset_y = 0.5
    else:
        offset_x, offset_y = _at(heads.reg.float(), cells, [0, 1])
    columns = heads.hm.shape[3]
    x = (cells % columns).float() + offset_x
    y = (cells // columns).float() + offset_y
    size = heads.wh.float()
    if flipped is not None:
        size = (size + _mirror(flipped.wh.float())) / 2
    width, height = _at(size, cells, [0, 1] if size.shape[1] == 2 else [2 * classes, 2 * classes + 1])
    return torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], dim=2)


def _best_peaks(logits, flipped_logits, k):
    """Return scores (float32), classes (int64) and cells (row * w + column, int64), each [N, k]."""
    images = logits.shape[0]
    group = images
    if logits.device.type == 'cpu':
        group = max(1, _CPU_GROUP * images // max(1, logits.numel()))
    parts = []
    for start in range(0, images, group):
        heat = torch.sigmoid(logits[start : start + group].float())
        if flipped_logits is not None:
            heat = (heat + _mirror(torch.sigmoid(flipped_logits[start : start + group].float()))) / 2
        parts.append(_top(only_peaks(heat), k))
    return tuple(torch.cat(part) for part in zip(*parts))


def only_peaks(heat: torch.Tensor) -> torch.Tensor:
    """Return ``heat`` [n, C, h, w], which is not negative, with 0 wherever a neighbour is higher."""
    return heat * (_highest_around(heat) == heat).to(heat.dtype)


def _highest_around(heat):
    """The highest value among each cell and its neighbours."""
    images = heat.permute(0, 2, 3, 1)
    as_prepared = heat.device.type == 'cpu' and heat.dtype == torch.float32 and images.is_contiguous()
    if as_prepared and images.numel() and layers.available():
        return layers.MaxPool((3, 3), 1, (1, 1), relu=False)(images).permute(0, 3, 1, 2)
    # Maxima of shifted planes: exact, and about eight times as fast as max_pool2d on a CPU.
    padded = F.pad(heat, (1, 1, 1, 1))
    across = torch.max(torch.max(padded[..., :-2], padded[..., 1:-1]), padded[..., 2:])
    return torch.max(torch.max(across[:, :, :-2], across[:, :, 1:-1]), across[:, :, 2:])


def _top(heat, k):
    images, classes, rows, columns = heat.shape
    per_class = min(k, rows * columns)
    scores, cells = torch.topk(heat.reshape(images, classes, rows * columns), per_class)
    scores, best = torch.topk(scores.reshape(images, -1), min(k, classes * per_class))
    return scores, best // per_class, cells.reshape(images, -1).gather(1, best)


def _at(maps, cells, planes):
    """Return some planes of ``maps`` [N, c, h, w] at ``cells`` [N, k], one tensor [N, k] each.

    ``planes``: numbers, or for each cell one, int64 [N, k].
    """
    flat = maps.reshape(maps.shape[0], -1)
    count = maps.shape[2] * maps.shape[3]
    return [flat.gather(1, plane * count + cells) for plane in planes]


def _mirror(maps):
    return torch.flip(maps, [3])
