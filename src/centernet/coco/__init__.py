"""COCO's file formats: read annotations and images, write detections, compute the twelve metrics.

Formats and metrics: Lin et al., "Microsoft COCO: Common Objects in Context" (2014), as implemented by
pycocotools.
"""

from .categories import COCO_CLASSES
from .data import CocoData, GroundTruth
from .images import read_image
from .metrics import STAT_NAMES, CocoMetrics, compute_metrics, format_metrics
from .results import ResultTable, to_results

__all__ = [
    'COCO_CLASSES',
    'STAT_NAMES',
    'CocoData',
    'CocoMetrics',
    'GroundTruth',
    'ResultTable',
    'compute_metrics',
    'format_metrics',
    'read_image',
    'to_results',
]
