"""How much two runners may differ and still be the same model: one table, with the reason for each number."""

from typing import NamedTuple


class Tolerance(NamedTuple):
    """A limit, its unit, and the reason for it."""

    limit: float
    unit: str
    why: str


HEADS = Tolerance(
    1e-4,
    "of the head's scale (the largest absolute value from the PyTorch model)",
    'float32 sums in another order differ by a few 1e-6 of the scale after some 60 layers, and folding'
    ' BatchNorm into the weights adds as much again; the smallest mistake in a graph that was tried differs'
    ' by more than 1e-3',
)

SCORE = Tolerance(
    1e-3,
    'of a score in [0, 1]',
    'a logit may differ by 1e-4 of a scale of a few dozen, and the sigmoid divides that by at least four',
)

IOU = Tolerance(
    0.99,
    'lowest IoU of two boxes',
    'sides may differ by 1e-4 of the scale of wh, far less than a hundredth of a box of several cells',
)

CORNER = Tolerance(
    0.02,
    'output cells, for boxes whose IoU is meaningless',
    'rounding destroys the IoU of a box with almost no area, but its corners still agree to a twelfth of an'
    ' input pixel',
)

TIE = Tolerance(
    2e-3,
    'of a score in [0, 1]',
    'two cells with scores this close can swap ranks when both scores move within their tolerance, so which'
    ' of them is the peak, or the last of the best hundred, is undecided; the measured differences are used'
    ' if smaller',
)

METRICS = Tolerance(
    1e-3,
    "of each of COCO's twelve figures",
    'scores and boxes are rounded to two decimals before COCO ranks them, so a difference of 1e-6 can swap'
    ' two detections in the ranking; a hundred such swaps change the figures of 200 images by less than this',
)

PUBLISHED_AP = Tolerance(
    2e-3,
    'of AP in [0, 1]',
    'published figures have one decimal of a percent, so rounding accounts for 5e-4; the rest is for other'
    ' JPEG decoders, versions of OpenCV, cuDNN and torch, and TF32, whose effect could not be measured here;'
    ' the two closest figures of a network, fix_res and keep_res of dla_34, are four times as far apart',
)

RECORDED_AP = Tolerance(
    1e-3,
    'of AP in [0, 1]',
    'on the CPU of the record both stacks measure the same AP to all digits; scores are rounded to two'
    ' decimals before COCO ranks them, so sums in another order, on another processor, can exchange two'
    ' detections in the ranking; a hundred such exchanges move the AP of 200 images by less than this',
)

#: all tolerances, by their names in reports
TABLE = (
    ('heads', HEADS),
    ('score', SCORE),
    ('iou', IOU),
    ('corner', CORNER),
    ('tie', TIE),
    ('metrics', METRICS),
    ('published_ap', PUBLISHED_AP),
    ('recorded_ap', RECORDED_AP),
)
