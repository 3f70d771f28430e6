"""Detect objects on pictures and videos of one's own, without annotations."""

from .options import DetectOptions
from .run import Detected, detect_files
from .sources import Source, find_sources

__all__ = ['DetectOptions', 'Detected', 'Source', 'detect_files', 'find_sources']
