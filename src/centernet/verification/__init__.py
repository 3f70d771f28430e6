"""Verify that an exported file is the same model as its checkpoint.

Each stage has figures and a truth value.

``rules``: whatever the reader of the file rejects or misreads. ``heads``: the outputs, value by value.
``detections``: the decoded boxes, matched one to one. ``metrics``: COCO's figures over a data set. The
tolerances are in :mod:`.tolerances`.
"""

from .detections import ComparedBatch, DetectionsComparison, Unmatched, compare_detections
from .heads import Figures, HeadComparison, HeadsComparison, compare_heads
from .metrics import MetricsComparison, compare_metrics
from .summary import document, format_verification
from .verify import STAGES, Stage, Verification, verify

__all__ = [
    'ComparedBatch',
    'DetectionsComparison',
    'Figures',
    'HeadComparison',
    'HeadsComparison',
    'MetricsComparison',
    'STAGES',
    'Stage',
    'Unmatched',
    'Verification',
    'compare_detections',
    'compare_heads',
    'compare_metrics',
    'document',
    'format_verification',
    'verify',
]
