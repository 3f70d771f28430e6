"""Download, verify and unpack the published checkpoints and COCO val2017."""

from .catalog import FILES, GROUPS, RemoteFile, choose, with_mirrors
from .install import Status, check, fetch

__all__ = ['FILES', 'GROUPS', 'RemoteFile', 'Status', 'check', 'choose', 'fetch', 'with_mirrors']
