"""Reproduce the published results: every claim with what was measured, and whether it holds."""

from .claims import PUBLISHED, SAMPLE, Claims, choose
from .measure import Reproduction, Row, Settings, reproduce
from .summary import document, format_reproduction, write_report

__all__ = [
    'PUBLISHED',
    'SAMPLE',
    'Claims',
    'Reproduction',
    'Row',
    'Settings',
    'choose',
    'document',
    'format_reproduction',
    'reproduce',
    'write_report',
]
