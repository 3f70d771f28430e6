"""The published checkpoints and COCO val2017: downloaded, checked, unpacked."""

from .download import Policy
from .fetching import Outcome, fetch, look
from .manifest import GROUPS, MANIFEST, Item, choose, read_manifest, with_mirrors

__all__ = [
    'GROUPS',
    'MANIFEST',
    'Item',
    'Outcome',
    'Policy',
    'choose',
    'fetch',
    'look',
    'read_manifest',
    'with_mirrors',
]
