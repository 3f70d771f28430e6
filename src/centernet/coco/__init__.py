"""COCO's file formats: read annotations and images, write detections, compute the twelve figures.

Formats and metrics: Lin et al., "Microsoft COCO: Common Objects in Context" (2014), as implemented by
pycocotools.
"""

from .classes import Matched, match_classes
from .data import CocoData, GroundTruth
from .images import read_image
from .metrics import (
    STAT_NAMES,
    CocoMetrics,
    compute_metrics,
    evaluate_classes,
    format_metrics,
    join_tables,
    summarise_classes,
    to_results,
)
from .objects import Objects
from .result_table import ResultTable

__all__ = [
    'STAT_NAMES',
    'CocoData',
    'CocoMetrics',
    'GroundTruth',
    'Matched',
    'Objects',
    'ResultTable',
    'compute_metrics',
    'evaluate_classes',
    'format_metrics',
    'join_tables',
    'match_classes',
    'read_image',
    'summarise_classes',
    'to_results',
]
