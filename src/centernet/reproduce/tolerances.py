"""How much a measured figure may differ from the one it is compared with: the one table, with the reason for
each number.

What an exported file may differ from its checkpoint is in :mod:`centernet.verification.tolerances`.
"""

from ..verification import tolerances as verification
from ..verification.tolerances import Tolerance

PUBLISHED = Tolerance(
    2e-3,
    'of AP in [0, 1]',
    'published figures have one decimal of a percent, so half of a thousandth is rounding; the rest is for'
    ' other decoders of JPEG, versions of OpenCV, cuDNN and torch, and TF32, whose share could not be'
    ' measured here; the nearest two figures of a network, fix_res and keep_res of dla_34, are four times as'
    ' far apart',
)

RECORDED = Tolerance(
    1e-3,
    'of AP in [0, 1]',
    'on the CPU of the record both stacks give the same AP to all digits; scores are rounded to two decimals'
    ' before COCO ranks them, so sums in another order, on another processor, can exchange two detections in'
    ' the ranking, and a hundred such exchanges move the AP of 200 images by less than this',
)

EXPORT = verification.METRICS

#: everything above, by the names that claims and reports use
TABLE = (('published', PUBLISHED), ('recorded', RECORDED), ('export', EXPORT))
