"""Evaluate CenterNet (Objects as Points) checkpoints, export them, and prove that the exports detect the same
things.

The stable interface (docs/python.md) is ``open_network``, ``detect``, ``predict``, ``score``, ``export`` and
``verify``, and the errors ``UserError`` and ``Interrupted``.
"""

import logging

from .face import detect, export, open_network, predict, score, verify
from .system.errors import Interrupted, UserError
from .version import __version__

# so that nothing is printed where the program that imports this has set up no logging
logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = [
    'open_network',
    'detect',
    'predict',
    'score',
    'export',
    'verify',
    'Interrupted',
    'UserError',
    '__version__',
]
