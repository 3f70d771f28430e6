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

HALF_HEADS = Tolerance(
    4.0,
    'times the mean difference that rounding every layer to float16 makes',
    'devices round in other places than the simulation (sums in float16, Winograd, folded normalization);'
    ' the mean, because single values move by a tenth of the scale where an offset crosses a pixel',
)

HALF_SCORE = Tolerance(
    0.02, 'of a score in [0, 1]', 'rounding every layer to float16 moved 10,000 scores by at most 0.006'
)

HALF_IOU = Tolerance(
    0.9, 'lowest IoU of two boxes', 'the same 10,000 boxes had an IoU of at least 0.904, 0.999 on average'
)

HALF_CORNER = Tolerance(
    0.1,
    'output cells, for boxes whose IoU is meaningless',
    'five times that of float32, as for the scores: less than half an input pixel',
)

HALF_TIE = Tolerance(
    0.01, 'of a score in [0, 1]', 'the largest of those 10,000 differences of a score, 0.006, rounded up'
)

HALF_MISSING = Tolerance(
    0.01,
    'of the detections',
    'of those 10,000, 11 found no match, all with scores below 0.02, where noise makes the peaks',
)

HALF_METRICS = Tolerance(
    5e-3,
    "of each of COCO's twelve figures over 200 images; over n, fewer than that, 200 / n times as much",
    'float16 moved them by at most 0.0011 on 200 images; an .om of dla_34 was reported to lose 0.002',
)

BF16_HEADS = Tolerance(
    5e-3,
    "of the head's scale, for the mean difference of --precision bf16 from fp32",
    'bfloat16 has 8 bits, so a factor is off by up to 0.2 %; the mean over 200 images of the sample was at'
    ' most 0.14 % of the scale; single values move by a fifth of it where an offset crosses a pixel',
)

BF16_SCORE = Tolerance(
    0.15,
    'of a score in [0, 1]',
    'twice the largest difference of 19,100 scores, 0.073; 99 % were below 0.004',
)

BF16_IOU = Tolerance(
    0.8, 'lowest IoU of two boxes', 'of those boxes, all but a few in a thousand had an IoU of at least 0.9'
)

BF16_CORNER = Tolerance(
    0.2,
    'output cells, for boxes whose IoU is meaningless',
    'twice that of float16: less than an input pixel',
)

BF16_TIE = Tolerance(
    0.02,
    'of a score in [0, 1]',
    'four times the difference that 99 % of the scores stay below: which of two such peaks is among the best'
    ' hundred is undecided',
)

BF16_MISSING = Tolerance(
    0.02,
    'of the detections',
    'of 20,000, 1 % found no match, almost all with scores that only noise has',
)

BF16_METRICS = Tolerance(
    1e-2,
    "of each of COCO's twelve figures over 200 images; AP itself by at most 0.002",
    'bfloat16 moved AP by 0.0005 on the sample, and AP75 most, by 0.0055',
)


class Limits(NamedTuple):
    """The tolerances of boxes and figures, for the precision of the candidate; ``missing``: the share of the
    detections that may lack a match."""

    score: float
    iou: float
    corner: float
    tie: float
    missing: float
    metrics: float


#: float32 against float32
FLOAT32 = Limits(SCORE.limit, IOU.limit, CORNER.limit, TIE.limit, 0.0, METRICS.limit)
#: float16 against float32
FLOAT16 = Limits(
    HALF_SCORE.limit,
    HALF_IOU.limit,
    HALF_CORNER.limit,
    HALF_TIE.limit,
    HALF_MISSING.limit,
    HALF_METRICS.limit,
)
#: bfloat16 against float32
BFLOAT16 = Limits(
    BF16_SCORE.limit,
    BF16_IOU.limit,
    BF16_CORNER.limit,
    BF16_TIE.limit,
    BF16_MISSING.limit,
    BF16_METRICS.limit,
)

#: all tolerances, by their names in reports
TABLE = (
    ('heads', HEADS),
    ('score', SCORE),
    ('iou', IOU),
    ('corner', CORNER),
    ('tie', TIE),
    ('metrics', METRICS),
    ('half_heads', HALF_HEADS),
    ('half_score', HALF_SCORE),
    ('half_iou', HALF_IOU),
    ('half_corner', HALF_CORNER),
    ('half_tie', HALF_TIE),
    ('half_missing', HALF_MISSING),
    ('half_metrics', HALF_METRICS),
    ('bf16_heads', BF16_HEADS),
    ('bf16_score', BF16_SCORE),
    ('bf16_iou', BF16_IOU),
    ('bf16_corner', BF16_CORNER),
    ('bf16_tie', BF16_TIE),
    ('bf16_missing', BF16_MISSING),
    ('bf16_metrics', BF16_METRICS),
    ('published_ap', PUBLISHED_AP),
    ('recorded_ap', RECORDED_AP),
)
