"""What is claimed: ``coco.json`` (the published figures) and ``sample.json`` (the built-in sample's) beside
this file, or another of the same form.

- ``data``, ``source``: for people; what the figures are of, and who says so;
- ``tolerance``: ``published`` or ``recorded``, see :mod:`.tolerances`;
- ``images``, ``annotations_sha256``: the data set that the figures are of;
- ``networks``: each with ``arch``, ``weights`` (a file's name), its ``sha256``, ``input_size`` [height,
  width] for fix_res and the exports, and ``AP`` in [0, 1] by protocol, null where none is published.
"""

import json
import os
import re
from collections import OrderedDict
from typing import Any, List, NamedTuple, Optional, Tuple

from ..errors import OptionError
from .tolerances import TABLE, Tolerance

_HERE = os.path.dirname(os.path.abspath(__file__))
PUBLISHED_CLAIMS = os.path.join(_HERE, 'coco.json')
SAMPLE_CLAIMS = os.path.join(_HERE, 'sample.json')

Protocol = NamedTuple('Protocol', [('keep_res', bool), ('flip_test', bool)])
PROTOCOLS = OrderedDict(
    [
        ('fix_res', Protocol(False, False)),
        ('fix_res, flip', Protocol(False, True)),
        ('keep_res', Protocol(True, False)),
        ('keep_res, flip', Protocol(True, True)),
    ]
)

#: figures: (protocol's name, AP or None), in the file's order
NetworkClaims = NamedTuple(
    'NetworkClaims',
    [
        ('arch', str),
        ('weights', str),
        ('sha256', str),
        ('input_size', Tuple[int, int]),
        ('figures', Tuple[Tuple[str, Optional[float]], ...]),
    ],
)
Claims = NamedTuple(
    'Claims',
    [
        ('path', str),
        ('data', str),
        ('source', str),
        ('tolerance_name', str),
        ('tolerance', Tolerance),
        ('images', int),
        ('annotations_sha256', str),
        ('networks', Tuple[NetworkClaims, ...]),
    ],
)


def read_claims(path: str) -> Claims:
    """Read and check a table of claims.

    Raises:
        OptionError: it cannot be read, or is not of the form above.
    """
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file, object_pairs_hook=OrderedDict)
    except (OSError, ValueError) as error:
        raise OptionError(
            'cannot read the claims {}: {}'.format(path, getattr(error, 'strerror', None) or error)
        ) from error
    try:
        networks = tuple(_network(entry) for entry in _get(content, 'networks', list))
        name = _get(content, 'tolerance', str)
        if name not in dict(TABLE) or not networks:
            raise ValueError('"tolerance" is published or recorded' if networks else 'there are no networks')
        return Claims(
            path,
            _get(content, 'data', str),
            _get(content, 'source', str),
            name,
            dict(TABLE)[name],
            _get(content, 'images', int),
            _hash(content, 'annotations_sha256'),
            networks,
        )
    except ValueError as error:
        raise OptionError(f'the claims {path}: {error}') from None


def choose(claims: Claims, arch: Optional[str]) -> Claims:
    """The claims about one architecture alone, or all of them.

    Raises:
        OptionError: there are none about it.
    """
    if arch is None:
        return claims
    networks = tuple(network for network in claims.networks if network.arch == arch)
    if not networks:
        raise OptionError(
            '{} claims nothing about {}, only about {}'.format(
                claims.path, arch, ', '.join(network.arch for network in claims.networks)
            )
        )
    return claims._replace(networks=networks)


def _network(entry: Any) -> NetworkClaims:
    sides = _get(entry, 'input_size', list)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ValueError('"input_size" is [height, width]')
    figures: List[Tuple[str, Optional[float]]] = []
    for name, value in _get(entry, 'AP', dict).items():
        if name not in PROTOCOLS:
            raise ValueError("unknown protocol '{}'; known: {}".format(name, '; '.join(PROTOCOLS)))
        if value is not None and not (isinstance(value, float) and 0 <= value <= 1):
            raise ValueError(f'AP is a number in [0, 1] or null, not {value!r}')
        figures.append((name, value))
    weights = _get(entry, 'weights', str)
    if os.path.basename(weights) != weights:
        raise ValueError(f'"weights" is the name of a file, not {weights!r}')
    return NetworkClaims(
        _get(entry, 'arch', str), weights, _hash(entry, 'sha256'), tuple(sides), tuple(figures)
    )


def _get(entry, key, kind):
    if not isinstance(entry, dict) or not isinstance(entry.get(key), kind):
        raise ValueError(f'there is no "{key}" of the right kind')
    return entry[key]


def _hash(entry, key):
    value = _get(entry, key, str)
    if not re.match(r'[0-9a-f]{64}\Z', value):
        raise ValueError(f'"{key}" is a SHA-256 in hexadecimal')
    return value
