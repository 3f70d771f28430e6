"""Two networks side by side: is the exported file the same model? Three stages, each with figures and a truth
value.

``heads``: the outputs, value by value. ``detections``: the boxes that come of them, matched one to one.
``metrics``: COCO's figures over a data set. Before them, ``rules``: what the reader of the file refuses or
reads wrongly. Tolerances: :mod:`.tolerances`.
"""

from .detections import DetectionsComparison, Unmatched, compare_detections
from .errors import NotFiniteError, OutputsError, ShapeError, VerificationError
from .heads import Figures, HeadComparison, HeadsComparison, compare_heads
from .metrics import MetricsComparison, compare_metrics
from .summary import document, format_verification
from .verify import STAGES, Stage, Verification, verify

__all__ = [
    'DetectionsComparison',
    'Figures',
    'HeadComparison',
    'HeadsComparison',
    'MetricsComparison',
    'NotFiniteError',
    'OutputsError',
    'STAGES',
    'ShapeError',
    'Stage',
    'Unmatched',
    'Verification',
    'VerificationError',
    'compare_detections',
    'compare_heads',
    'compare_metrics',
    'document',
    'format_verification',
    'verify',
]
