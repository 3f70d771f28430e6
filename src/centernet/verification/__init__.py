"""Verify that an exported file is the same model as its checkpoint.

A verification has four stages, and each has checks: a number, its limit, and whether it passed.

``rules``: whatever the reader of the file rejects or misreads. ``heads``: the outputs, value by value.
``detections``: the decoded boxes, matched one to one. ``metrics``: COCO's metrics over a data set. The
tolerances are in :mod:`.tolerances`.
"""

from .detections import ComparedBatch, compare_detections
from .heads import compare_heads
from .metrics import compare_metrics
from .stages import Check, Stage, Verification
from .summary import document, format_verification
from .verify import record_of_both, verify

__all__ = [
    'Check',
    'ComparedBatch',
    'Stage',
    'Verification',
    'compare_detections',
    'compare_heads',
    'compare_metrics',
    'document',
    'format_verification',
    'record_of_both',
    'verify',
]
