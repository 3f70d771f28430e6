"""What is fetched: ``manifest.json`` beside this file, or another of the same form.

It is ``{"files": [...]}``, each file with

- ``name``: what it is called, here and under ``--mirror``;
- ``group``: ``weights`` (goes into the folder of models) or ``coco`` (into the data set's);
- ``bytes`` and ``sha256``: what has to arrive;
- ``mirrors``: addresses, tried in this order;
- ``unpack``, for a zip: what it becomes. ``{"file", "bytes", "sha256"}`` is one member, under its own path;
  ``{"folder", "suffix", "files", "bytes_at_most"}`` is a folder of so many files, together no larger than
  that.
"""

import json
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union
from urllib.parse import urlsplit

from ..errors import FetchError

MANIFEST = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'manifest.json')
GROUPS = ('weights', 'coco')

Member = NamedTuple('Member', [('path', str), ('bytes', int), ('sha256', str)])
Folder = NamedTuple('Folder', [('path', str), ('suffix', str), ('files', int), ('bytes_at_most', int)])
#: unpack: None for a file that is used as it is
Item = NamedTuple(
    'Item',
    [
        ('name', str),
        ('group', str),
        ('bytes', int),
        ('sha256', str),
        ('mirrors', Tuple[str, ...]),
        ('unpack', Optional[Tuple[Union[Member, Folder], ...]]),
    ],
)

# Plain names alone: no separators, nothing hidden, nothing that leaves the folder.
_NAME = r'[A-Za-z0-9_][A-Za-z0-9_.-]*'


def read_manifest(path: str = MANIFEST) -> List[Item]:
    """Read and check a manifest.

    Raises:
        FetchError: it cannot be read, or an entry is not of the form above.
    """
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except OSError as error:
        raise FetchError(f'cannot read the manifest {path}: {error.strerror}') from error
    except ValueError as error:
        raise FetchError(f'the manifest {path} is not valid JSON: {error}') from error
    entries = content.get('files') if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise FetchError(f'the manifest {path} has no list "files"')
    items = []
    for number, entry in enumerate(entries, start=1):
        try:
            items.append(_item(entry))
        except ValueError as error:
            raise FetchError(f'the manifest {path}, file {number}: {error}') from None
    names = [item.name for item in items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FetchError(f'the manifest {path} has {twice[0]} twice')
    return items


def choose(items: List[Item], words: List[str]) -> List[Item]:
    """The items of these groups and names, in the manifest's order; ``all`` or no word takes them all.

    Raises:
        FetchError: a word is neither.
    """
    known = ['all'] + list(GROUPS) + [item.name for item in items]
    for word in words:
        if word not in known:
            raise FetchError("nothing is called '{}': give one of {}".format(word, ', '.join(known)))
    if not words or 'all' in words:
        return list(items)
    return [item for item in items if item.group in words or item.name in words]


def with_mirrors(items: List[Item], bases: List[str]) -> List[Item]:
    """The items with ``<base>/<name>`` in front of their mirrors.

    Raises:
        FetchError: a base is no address.
    """
    for base in bases:
        _check_address(base, FetchError)
    return [
        item._replace(mirrors=tuple(base.rstrip('/') + '/' + item.name for base in bases) + item.mirrors)
        for item in items
    ]


def _item(entry: Dict[str, Any]) -> Item:
    _check_keys(entry, ('name', 'group', 'bytes', 'sha256', 'mirrors'), ('unpack',))
    if entry['group'] not in GROUPS:
        raise ValueError('"group" is one of {}, not {!r}'.format(', '.join(GROUPS), entry['group']))
    if not isinstance(entry['mirrors'], list) or not entry['mirrors']:
        raise ValueError('"mirrors" is a list of addresses')
    for address in entry['mirrors']:
        _check_address(address, ValueError)
    unpack = None
    if 'unpack' in entry:
        if not isinstance(entry['unpack'], list) or not entry['unpack']:
            raise ValueError('"unpack" is a list of what comes out of the zip')
        unpack = tuple(_unpacked(part) for part in entry['unpack'])
    return Item(
        _path(entry, 'name', 1),
        entry['group'],
        _number(entry, 'bytes'),
        _sha256(entry),
        tuple(entry['mirrors']),
        unpack,
    )


def _unpacked(part):
    if isinstance(part, dict) and 'folder' in part:
        _check_keys(part, ('folder', 'suffix', 'files', 'bytes_at_most'))
        if not isinstance(part['suffix'], str) or not re.match(r'\.[a-z0-9]+\Z', part['suffix']):
            raise ValueError('"suffix" is the end of the names, such as ".jpg"')
        return Folder(
            _path(part, 'folder', 1), part['suffix'], _number(part, 'files'), _number(part, 'bytes_at_most')
        )
    _check_keys(part, ('file', 'bytes', 'sha256'))
    return Member(_path(part, 'file', 3), _number(part, 'bytes'), _sha256(part))


def _check_keys(entry, needed, optional=()):
    if not isinstance(entry, dict):
        raise ValueError('it is not an object')
    missing = [key for key in needed if key not in entry]
    unknown = sorted(set(entry).difference(needed, optional))
    if missing or unknown:
        raise ValueError(f'it has no "{missing[0]}"' if missing else f'nobody knows "{unknown[0]}"')


def _path(entry, key, most):
    value = entry[key]
    if not isinstance(value, str) or not re.match(rf'{_NAME}(/{_NAME}){{0,{most - 1}}}\Z', value):
        raise ValueError(f'"{key}" is no plain name: {value!r}')
    return value


def _number(entry, key):
    value = entry[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f'"{key}" is a whole number of at least 1, not {value!r}')
    return value


def _sha256(entry):
    value = entry['sha256']
    if not isinstance(value, str) or not re.match(r'[0-9a-f]{64}\Z', value):
        raise ValueError(f'"sha256" is 64 hexadecimal digits in lower case, not {value!r}')
    return value


def _check_address(address, error):
    try:
        parts = urlsplit(address if isinstance(address, str) else '')
        good = parts.scheme in ('http', 'https') and parts.hostname
    except ValueError:  # a bracket without its partner
        good = False
    if not good:
        raise error(f'a mirror is an address such as https://files.example/coco, not {address!r}')
