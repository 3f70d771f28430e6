"""The published figures, measured again: every claim with what was found, and whether it holds."""

from .claims import PUBLISHED_CLAIMS, SAMPLE_CLAIMS, Claims, choose, read_claims
from .report import document, format_reproduction, write_report
from .running import Reproduction, Row, Settings, reproduce

__all__ = [
    'PUBLISHED_CLAIMS',
    'SAMPLE_CLAIMS',
    'Claims',
    'Reproduction',
    'Row',
    'Settings',
    'choose',
    'document',
    'format_reproduction',
    'read_claims',
    'reproduce',
    'write_report',
]
