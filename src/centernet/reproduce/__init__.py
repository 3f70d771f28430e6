"""Reproduce the published results: every claim with what was measured, and whether it holds."""

from .claims import PUBLISHED, SAMPLE, choose
from .measure import Settings, reproduce
from .summary import document, format_reproduction, write_report

__all__ = [
    'PUBLISHED',
    'SAMPLE',
    'Settings',
    'choose',
    'document',
    'format_reproduction',
    'reproduce',
    'write_report',
]
