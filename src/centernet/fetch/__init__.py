"""Download, verify and unpack the published checkpoints and COCO val2017."""

from .catalog import FILES, GROUPS, RemoteFile, choose, with_mirrors
from .download import ATTEMPTS, TIMEOUT
from .install import Status, check, fetch

__all__ = [
    'ATTEMPTS',
    'FILES',
    'GROUPS',
    'RemoteFile',
    'Status',
    'TIMEOUT',
    'check',
    'choose',
    'fetch',
    'with_mirrors',
]
