"""Download, verify and unpack the published checkpoints and COCO val2017."""

from .catalog import choose
from .install import Status, check, fetch

__all__ = ['Status', 'check', 'choose', 'fetch']
