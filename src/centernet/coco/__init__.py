"""COCO's formats: annotations and images in, detections and the twelve figures out.

Formats and metrics: Lin et al., "Microsoft COCO: Common Objects in Context" (2014), as pycocotools implements
them.
"""

from .data import CocoData, GroundTruth
from .images import read_image, read_image_checked
from .metrics import STAT_NAMES, CocoMetrics, evaluate, format_metrics, to_results

__all__ = [
    'STAT_NAMES',
    'CocoData',
    'CocoMetrics',
    'GroundTruth',
    'evaluate',
    'format_metrics',
    'read_image',
    'read_image_checked',
    'to_results',
]
