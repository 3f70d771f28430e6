"""How much two networks may differ and still be the same model, with the reason for each number."""

from typing import NamedTuple


class Tolerance(NamedTuple):
    """A limit, its unit, and the reason for it."""

    limit: float
    unit: str
    why: str


class Limits(NamedTuple):
    """The tolerances of boxes and metrics, for the precision of the candidate; ``missing``: the share of the
    detections that may lack a match."""

    score: float
    iou: float
    corner: float
    tie: float
    missing: float
    metrics: float


_SCORE = 'of a score in [0, 1]'
_IOU = 'lowest IoU of two boxes'
_CORNER = 'output cells, for boxes whose IoU is meaningless'

#: All tolerances, by their names in reports: ``half_`` is float16 against float32, ``bf16_`` is bfloat16
#: against float32, those without a prefix are float32 against float32; the last two are of ``reproduce``.
TABLE = {
    'heads': Tolerance(
        1e-4,
        "of the head's scale (the largest absolute value from the PyTorch model)",
        'float32 sums in another order differ by a few 1e-6 of the scale after some 60 layers, and folding'
        ' BatchNorm into the weights adds as much again; the smallest mistake in a graph that was tried'
        ' differs by more than 1e-3',
    ),
    'score': Tolerance(
        1e-3,
        _SCORE,
        'a logit may differ by 1e-4 of a scale of a few dozen, and the sigmoid divides that by at least four',
    ),
    'iou': Tolerance(
        0.99,
        _IOU,
        'sides may differ by 1e-4 of the scale of wh, far less than a hundredth of a box of several cells',
    ),
    'corner': Tolerance(
        0.02,
        _CORNER,
        'rounding destroys the IoU of a box with almost no area, but its corners still agree to a twelfth of'
        ' an input pixel',
    ),
    'tie': Tolerance(
        2e-3,
        _SCORE,
        'two cells with scores this close can swap ranks when both scores move within their tolerance, so'
        ' which of them is the peak, or the last of the best hundred, is undecided; the measured differences'
        ' are used if smaller',
    ),
    'metrics': Tolerance(
        1e-3,
        "of each of COCO's twelve metrics",
        'scores and boxes are rounded to two decimals before COCO ranks them, so a difference of 1e-6 can'
        ' swap two detections in the ranking; a hundred such swaps change the metrics of 200 images by less'
        ' than this',
    ),
    'half_heads': Tolerance(
        4.0,
        'times the mean difference that rounding every layer to float16 makes',
        'devices round in other places than the simulation (sums in float16, Winograd, folded'
        ' normalization); the mean, because single values move by a tenth of the scale where an offset'
        ' crosses a pixel',
    ),
    'half_score': Tolerance(
        0.02, _SCORE, 'rounding every layer to float16 moved 10,000 scores by at most 0.006'
    ),
    'half_iou': Tolerance(0.9, _IOU, 'the same 10,000 boxes had an IoU of at least 0.904, 0.999 on average'),
    'half_corner': Tolerance(
        0.1, _CORNER, 'five times that of float32, as for the scores: less than half an input pixel'
    ),
    'half_tie': Tolerance(
        0.01, _SCORE, 'the largest of those 10,000 differences of a score, 0.006, rounded up'
    ),
    'half_missing': Tolerance(
        0.01,
        'of the detections',
        'of those 10,000, 11 found no match, all with scores below 0.02, where noise makes the peaks',
    ),
    'half_metrics': Tolerance(
        5e-3,
        "of each of COCO's twelve metrics over 200 images; over n, fewer than that, 200 / n times as much",
        'float16 moved them by at most 0.0011 on 200 images; an .om of dla_34 was reported to lose 0.002',
    ),
    'bf16_heads': Tolerance(
        5e-3,
        "of the head's scale, for the mean difference of --precision bf16 from fp32",
        'bfloat16 has 8 bits, so a factor is off by up to 0.2 %; the mean over 200 images of the sample was'
        ' at most 0.14 % of the scale; single values move by a fifth of it where an offset crosses a pixel',
    ),
    'bf16_score': Tolerance(
        0.15, _SCORE, 'twice the largest difference of 19,100 scores, 0.073; 99 % were below 0.004'
    ),
    'bf16_iou': Tolerance(
        0.8, _IOU, 'of those boxes, all but a few in a thousand had an IoU of at least 0.9'
    ),
    'bf16_corner': Tolerance(0.2, _CORNER, 'twice that of float16: less than an input pixel'),
    'bf16_tie': Tolerance(
        0.02,
        _SCORE,
        'four times the difference that 99 % of the scores stay below: which of two such peaks is among the'
        ' best hundred is undecided',
    ),
    'bf16_missing': Tolerance(
        0.02,
        'of the detections',
        'of 20,000, 1 % found no match, almost all with scores that only noise has',
    ),
    'bf16_metrics': Tolerance(
        1e-2,
        "of each of COCO's twelve metrics over 200 images; AP itself by at most 0.002",
        'bfloat16 moved AP by 0.0005 on the sample, and AP75 most, by 0.0055',
    ),
    'published_ap': Tolerance(
        2e-3,
        'of AP in [0, 1]',
        'published metrics have one decimal of a percent, so rounding accounts for 5e-4; the rest is for'
        ' other JPEG decoders, versions of OpenCV, cuDNN and torch, and TF32, whose effect could not be'
        ' measured here; the two closest metrics of a network, fix_res and keep_res of dla_34, are four times'
        ' as far apart',
    ),
    'recorded_ap': Tolerance(
        1e-3,
        'of AP in [0, 1]',
        'on the CPU of the record both stacks measure the same AP to all digits; scores are rounded to two'
        ' decimals before COCO ranks them, so sums in another order, on another processor, can exchange two'
        ' detections in the ranking; a hundred such exchanges move the AP of 200 images by less than this',
    ),
}
#: of whole heads
HEADS, HALF_HEADS = TABLE['heads'], TABLE['half_heads']


def _limits(prefix, missing=0.0):
    names = (prefix + name for name in Limits._fields)
    return Limits(*(TABLE[name].limit if name in TABLE else missing for name in names))


FLOAT32, FLOAT16, BFLOAT16 = _limits(''), _limits('half_'), _limits('bf16_')
