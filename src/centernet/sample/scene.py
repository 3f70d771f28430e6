"""Draw the pictures of the built-in sample: shapes on textured grounds.

All arithmetic is on integers from numpy's ``RandomState``, whose streams are frozen, so every platform and
every version of numpy draws the same bytes. Lengths called ``fine`` are in units of 1/16 pixel.
"""

import math
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

#: (id, name); ids have gaps, as in COCO
CATEGORIES = ((1, 'circle'), (3, 'rectangle'), (7, 'triangle'), (90, 'ring'))

FINE = 16
#: coverage is sampled at SUPER x SUPER points per pixel
SUPER = 4
_ANGLES = [math.pi * k / 32 for k in range(64)]
_DIRECTIONS = [(round(1024 * math.cos(angle)), round(1024 * math.sin(angle))) for angle in _ANGLES]


class Shape(NamedTuple):
    """One drawn shape.

    Attributes:
        category: index into CATEGORIES.
        box: x1, y1, x2, y2 in pixels, clipped.
        area: covered area in square pixels, including occluded parts.
    """

    category: int
    box: Tuple[float, float, float, float]
    area: float


class Scene(NamedTuple):
    """A picture (uint8 BGR [H, W, 3]), its shapes, and its crowds: lists of shapes, each annotated as one."""

    image: np.ndarray
    shapes: List[Shape]
    crowds: List[List[Shape]]


def draw_scene(
    seed: Union[int, Sequence[int]], crowds: bool = True, size: Optional[Tuple[int, int]] = None
) -> Scene:
    """Draw one picture.

    Args:
        seed: the same seed gives the same scene.
        crowds: whether to allow a crowd, a cluster of small shapes with one annotation.
        size: (width, height) in pixels, at least 80; by default random, from 80 to 144 pixels.
    """
    random = np.random.RandomState(seed)
    height, width = (int(n) for n in random.randint(80, 145, 2))
    if size is not None:
        width, height = size
    image = _ground(random, height, width)
    boxes, shapes, crowd = [], [], []
    if crowds and random.randint(12) == 0:
        crowd = _draw_crowd(random, image)
        boxes.extend(shape.box for shape in crowd)
    attempts = 0 if random.randint(16) == 0 else int(random.randint(2, 15))
    for _ in range(attempts):
        # sizes are log-uniform: as many from 14 to 28 pixels as from 56 to 112
        size = 14 * FINE << int(random.randint(4))
        size = min(size + int(random.randint(size)), (min(height, width) - 4) * FINE)
        plan = _plan(random, int(random.randint(len(CATEGORIES))), size, width, height)
        if plan is None or any(_overlap(plan.box, box) > 0.25 for box in boxes):
            continue
        shapes.append(_paint(random, image, plan))
        boxes.append(plan.box)
    noise = random.randint(-6, 7, image.shape)
    image = np.clip(image.astype(np.int64) + noise, 0, 255).astype(np.uint8)
    return Scene(image, shapes, [crowd] if crowd else [])


class _Plan(NamedTuple):
    category: int
    centre: Tuple[int, int]  # fine
    radius: int  # fine; of the circle around
    corners: List[Tuple[int, int]]  # fine; empty for round shapes
    box: Tuple[float, float, float, float]


def _plan(random, category, size, width, height):
    """Place a shape of about ``size`` (fine); return None if more than a quarter would be outside."""
    name = CATEGORIES[category][1]
    radius = size // 2
    margins = [min(3 * radius // 4, extent * FINE // 2 - 1) for extent in (width, height)]
    centre = tuple(
        int(random.randint(margin, extent * FINE - margin))
        for extent, margin in zip((width, height), margins)
    )
    turn, shape = int(random.randint(64)), int(random.randint(32, 65))
    if name == 'rectangle':
        corners = _rectangle(radius, shape, turn)
    elif name == 'triangle':
        corners = [_rotate(radius, 0, turn + step) for step in (0, 21 + shape % 5 - 2, 43)]
    else:
        corners = []
    corners = [(centre[0] + x, centre[1] + y) for x, y in corners]
    xs, ys = zip(*corners or [[side - radius for side in centre], [side + radius for side in centre]])
    full = (min(xs), min(ys), max(xs), max(ys))
    clipped = (max(full[0], 0), max(full[1], 0), min(full[2], width * FINE), min(full[3], height * FINE))
    sides = [clipped[2] - clipped[0], clipped[3] - clipped[1]]
    if min(sides) < 6 * FINE or 4 * sides[0] * sides[1] < 3 * (full[2] - full[0]) * (full[3] - full[1]):
        return None
    return _Plan(category, centre, radius, corners, tuple(value / FINE for value in clipped))


def _rectangle(radius, shape, turn):
    """Return corners around the origin; ``shape`` / 64 is the ratio of the sides. Most are upright."""
    long, short = 7 * radius // 8, 7 * radius * shape // 512
    corners = [(long, short), (-long, short), (-long, -short), (long, -short)]
    turn = (turn % 2) * 16 if turn < 40 else turn
    return [_rotate(x, y, turn) for x, y in corners]


def _rotate(x, y, turn):
    cosine, sine = _DIRECTIONS[turn % 64]
    return (x * cosine - y * sine) // 1024, (x * sine + y * cosine) // 1024


def _paint(random, image, plan):
    """Draw a planned shape into the picture."""
    height, width = image.shape[:2]
    x1, y1 = int(plan.box[0]), int(plan.box[1])
    x2, y2 = min(int(plan.box[2]) + 1, width), min(int(plan.box[3]) + 1, height)
    step = FINE // SUPER
    x = np.arange(x1 * FINE + step // 2, x2 * FINE, step)[None, :]
    y = np.arange(y1 * FINE + step // 2, y2 * FINE, step)[:, None]
    if plan.corners:
        inside = _in_polygon(x, y, plan.corners)
    else:
        distance = (x - plan.centre[0]) ** 2 + (y - plan.centre[1]) ** 2
        inside = distance <= plan.radius**2
        if CATEGORIES[plan.category][1] == 'ring':
            inside &= distance >= (plan.radius * 5 // 8) ** 2
    coverage = inside.reshape(y2 - y1, SUPER, x2 - x1, SUPER).sum(axis=(1, 3))  # 0 .. 16

    region = image[y1:y2, x1:x2].astype(np.int64)
    colour = _contrasting(random, region)
    noise = _noise(random, y2 - y1, x2 - x1, int(random.randint(4, 17)))[..., None]
    fill = colour + noise % int(random.randint(1, 49))
    share = coverage[..., None]
    image[y1:y2, x1:x2] = np.clip((fill * share + region * (16 - share)) // 16, 0, 255)
    return Shape(plan.category, plan.box, float(coverage.sum()) / 16)


def _in_polygon(x, y, corners):
    """Return which points lie in a convex polygon of either orientation."""
    sides = []
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1]):
        sides.append((bx - ax) * (y - ay) - (by - ay) * (x - ax))
    return np.all([side >= 0 for side in sides], axis=0) | np.all([side <= 0 for side in sides], axis=0)


def _contrasting(random, region):
    """Draw a colour that differs from the region's mean by at least 90 in one channel."""
    mean = region.reshape(-1, 3).sum(axis=0) // (region.shape[0] * region.shape[1])
    while True:
        colour = random.randint(0, 256, 3)
        if np.abs(colour - mean).max() >= 90:
            return colour


def _draw_crowd(random, image):
    """Draw a cluster of small shapes of one category."""
    height, width = image.shape[:2]
    category = int(random.randint(len(CATEGORIES)))
    left, top = int(random.randint(width - 60)), int(random.randint(height - 60))
    boxes, shapes = [], []
    for _ in range(40):
        plan = _plan(random, category, int(random.randint(10, 19)) * FINE, width, height)
        if plan is None or min(plan.box[0] - left, plan.box[1] - top) < 0:
            continue
        is_inside = max(plan.box[2] - left, plan.box[3] - top) <= 60
        if is_inside and all(_overlap(plan.box, box) < 0.1 for box in boxes):
            boxes.append(plan.box)
            shapes.append(_paint(random, image, plan))
    return shapes if len(shapes) > 1 else []


def _overlap(a, b):
    """Return the shared area of two boxes as a fraction of the smaller one."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(width, 0) * max(height, 0) / smaller


def _ground(random, height, width):
    """Draw a texture: two octaves of noise in two colours, sometimes with stripes."""
    colours = random.randint(20, 236, (2, 3))
    coarse = _noise(random, height, width, int(random.randint(24, 65)))
    pattern = (coarse * 3 + _noise(random, height, width, int(random.randint(4, 13)))) // 4
    if random.randint(3) == 0:
        a, b = random.randint(-3, 4, 2)
        stripes = (np.arange(height)[:, None] * int(a) + np.arange(width)[None, :] * int(b)) // 4 % 8 < 4
        pattern = pattern * 3 // 4 + stripes * 64
    share = pattern[..., None]
    return ((colours[0] * share + colours[1] * (255 - share)) // 255).astype(np.uint8)


def _noise(random, height, width, cell):
    """Draw smooth noise, int64 [height, width], 0 to 255: random every ``cell`` pixels, interpolated."""
    grid = random.randint(0, 256, (height // cell + 2, width // cell + 2))
    y, x = np.arange(height)[:, None], np.arange(width)[None, :]
    row, column, v, u = y // cell, x // cell, y % cell, x % cell
    above = grid[row, column] * (cell - u) + grid[row, column + 1] * u
    below = grid[row + 1, column] * (cell - u) + grid[row + 1, column + 1] * u
    return (above * (cell - v) + below * v) // (cell * cell)
