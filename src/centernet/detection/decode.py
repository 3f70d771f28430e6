"""From the network's heads to scored boxes in output cells."""

import torch
import torch.nn.functional as F

from .heads import RawBoxes

# On the CPU, images are scored in groups of about this many heat map values: the C library returns larger
# blocks of memory to the system at once, and fetching them again page by page costs several times the
# arithmetic.
_CPU_GROUP = 1 << 21


def decode(heads, flipped=None, k=100):
    """Finds the ``k`` best peaks of the heat maps and the boxes that belong to them.

    A peak is a cell that is no lower than its eight neighbours; the rest score 0. The best ``k`` are taken of
    each class, then of all classes, so that ties fall as in the published code. The heads are not changed.

    Args:
        heads: :class:`Heads` of N images.
        flipped: Heads of the same images, mirrored left to right (the flip test): probabilities and sizes are
            averaged with theirs, the places of the centres are those of the images as they are.
        k: how many boxes; fewer come back if there are fewer cells in all classes together.

    Returns:
        :class:`RawBoxes`, on the device of the heads.

    Source: "Objects as Points", section 3 ("From points to bounding boxes").
    """
    with torch.no_grad():
        scores, classes, cells = _best_peaks(heads.hm, None if flipped is None else flipped.hm, k)
        size = heads.wh.float()
        if flipped is not None:
            size = (size + _mirror(flipped.wh.float())) / 2
        width, height = _at(size, cells)
        offset_x, offset_y = _at(heads.reg.float(), cells)
        columns = heads.hm.shape[3]
        x = (cells % columns).float() + offset_x
        y = (cells // columns).float() + offset_y
        boxes = torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], dim=2)
        return RawBoxes(boxes, scores, classes)


def _best_peaks(logits, flipped_logits, k):
    """Scores float32, classes int64 and cells (row * w + column) int64, [N, k] each."""
    images = logits.shape[0]
    group = images
    if logits.device.type == 'cpu':
        group = max(1, _CPU_GROUP * images // max(1, logits.numel()))
    parts = []
    for start in range(0, images, group):
        heat = torch.sigmoid(logits[start : start + group].float())
        if flipped_logits is not None:
            heat = (heat + _mirror(torch.sigmoid(flipped_logits[start : start + group].float()))) / 2
        parts.append(_top(_only_peaks(heat), k))
    return tuple(torch.cat(part) for part in zip(*parts))


def _only_peaks(heat):
    """``heat`` [n, C, h, w], not negative, with 0 wherever one of the eight neighbours is higher."""
    # Four maxima of shifted planes: exact, and about eight times as fast on a CPU as max_pool2d.
    padded = F.pad(heat, (1, 1, 1, 1))
    across = torch.max(torch.max(padded[..., :-2], padded[..., 1:-1]), padded[..., 2:])
    highest = torch.max(torch.max(across[:, :, :-2], across[:, :, 1:-1]), across[:, :, 2:])
    return heat * (highest == heat).to(heat.dtype)


def _top(heat, k):
    images, classes, rows, columns = heat.shape
    per_class = min(k, rows * columns)
    scores, cells = torch.topk(heat.reshape(images, classes, rows * columns), per_class)
    scores, best = torch.topk(scores.reshape(images, -1), min(k, classes * per_class))
    return scores, best // per_class, cells.reshape(images, -1).gather(1, best)


def _at(maps, cells):
    """The values of the two planes of ``maps`` [N, 2, h, w] at ``cells`` [N, k]: two tensors [N, k]."""
    images, k = cells.shape
    values = maps.reshape(images, 2, -1).gather(2, cells.unsqueeze(1).expand(images, 2, k))
    return values[:, 0], values[:, 1]


def _mirror(maps):
    return torch.flip(maps, [3])
