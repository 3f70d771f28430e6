"""Read and check an annotations file in COCO's instances format."""

import collections
import json
import math
import os
import re
from typing import Any, Dict, List, NamedTuple

from ..errors import DataError

#: Parsing a number of a million digits takes minutes; no valid value has a thousand.
_LONG_NUMBER = re.compile('[0-9]{1000}')


class Instances(NamedTuple):
    """The content of an annotations file, and a line for each assumption about it."""

    dataset: Dict[str, Any]
    notes: List[str]


def read_instances(path: str) -> Instances:
    """Read and check an annotations file.

    A file without ``annotations``, as COCO's image_info files are, has none. Ids that are whole numbers
    written as decimals (``1.0``) become integers. Annotations of categories or images that are not listed are
    dropped, as pycocotools ignores them.

    Returns:
        Its content without segmentations. Missing ``area`` and ``iscrowd`` are filled in, and annotations are
        renumbered from 1.

    Raises:
        DataError: the file cannot be read, is not valid JSON or not a COCO instances file.
    """

    def drop_segmentation(entry: Dict[str, Any]) -> Dict[str, Any]:
        # done while parsing, so that the polygons are never all in memory
        entry.pop('segmentation', None)
        return entry

    try:
        with open(path, encoding='utf-8-sig') as file:
            text = file.read()
        if _LONG_NUMBER.search(text):
            raise DataError(f'the annotations file {path} contains a number of 1000 digits or more')
        dataset = json.loads(text, object_hook=drop_segmentation)
        del text
    except json.JSONDecodeError as error:
        raise DataError(
            f'the annotations file {path} is not valid JSON: line {error.lineno}, column {error.colno}:'
            f' {error.msg}'
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(f'the annotations file {path} is not valid JSON: {error}') from None
    except RecursionError:
        raise DataError(f'the annotations file {path} is not valid JSON: nested too deeply') from None
    except MemoryError:
        raise DataError(f'the annotations file {path} does not fit into memory') from None
    except OSError as error:
        raise DataError(f'cannot read the annotations file {path}: {error.strerror}') from None
    try:
        notes = _check_dataset(dataset)
    except _InvalidDataset as error:
        raise DataError(f'{path} is not a COCO instances file: {error}') from None
    return Instances(dataset, notes)


class _InvalidDataset(Exception):
    """The message says what is wrong in an annotations file."""


def _check_dataset(dataset: Any) -> List[str]:
    """Check everything that the evaluation relies on, fill in defaults, drop annotations that do not count,
    and renumber the others; return the notes."""
    if not isinstance(dataset, dict):
        raise _InvalidDataset(
            f'it contains {_kind(dataset)}, not an object with images, annotations and categories'
        )
    dataset.setdefault('annotations', [])
    for key in ('images', 'annotations', 'categories'):
        if key not in dataset:
            raise _InvalidDataset(f"it has no '{key}'")
        if not isinstance(dataset[key], list):
            raise _InvalidDataset(f"'{key}' is {_kind(dataset[key])}, not a list")
        for position, entry in enumerate(dataset[key]):
            if not isinstance(entry, dict):
                raise _InvalidDataset(f'{key}[{position}] is {_kind(entry)}, not an object')
    for key, text in (('images', 'file_name'), ('categories', 'name')):
        seen = {}
        if not dataset[key]:
            raise _InvalidDataset(f"'{key}' is empty")
        for position, entry in enumerate(dataset[key]):
            where = f'{key}[{position}]'
            number, name = _id(entry, 'id', where), _value(entry, text, str, where)
            if key == 'images' and not _is_file_name(name):
                raise _InvalidDataset(f"{where}: its 'file_name' is not a valid file name")
            if number in seen:
                raise _InvalidDataset(
                    f"the id {number} is used twice in '{key}': for {seen[number]} and for {name}"
                )
            seen[number] = name
    return _check_annotations(dataset)


def _check_annotations(dataset: Dict[str, Any]) -> List[str]:
    listed = {
        'category_id': {entry['id'] for entry in dataset['categories']},
        'image_id': {entry['id'] for entry in dataset['images']},
    }
    strays, kept = collections.defaultdict(list), []
    for position, entry in enumerate(dataset['annotations']):
        where = f'annotations[{position}]'
        unlisted = [key for key in ('image_id', 'category_id') if _id(entry, key, where) not in listed[key]]
        if unlisted:
            strays[unlisted[-1]].append(entry[unlisted[-1]])
            continue
        box = _value(entry, 'bbox', list, where)
        if len(box) != 4 or not all(_is_number(value) for value in box) or min(box[2:]) < 0:
            raise _InvalidDataset(f'{where}: its bbox is {json.dumps(box)[:80]}, not [x, y, width, height]')
        if not _is_number(entry.setdefault('area', box[2] * box[3])):
            raise _InvalidDataset(f"{where}: its 'area' is not a number")
        if entry.setdefault('iscrowd', 0) not in (0, 1):
            raise _InvalidDataset(f"{where}: its 'iscrowd' is neither 0 nor 1")
        entry['iscrowd'] = int(entry['iscrowd'])
        kept.append(entry)
        # COCOeval needs unique ids, and treats a match with annotation 0 as no match.
        entry['id'] = len(kept)
    if strays and not kept:
        ids = [number for numbers in strays.values() for number in numbers]
        raise _InvalidDataset(
            f'its annotations name no listed image and category; the first has the id {ids[0]}'
        )
    dataset['annotations'] = kept
    return _box_notes(dataset) + [
        _stray_note(strays[key], table)
        for key, table in (('category_id', 'categories'), ('image_id', 'images'))
        if strays[key]
    ]


def _box_notes(dataset: Dict[str, Any]) -> List[str]:
    """A line if most boxes are no [x, y, width, height] in pixels, as those of other formats."""
    sizes = {entry['id']: (entry.get('width'), entry.get('height')) for entry in dataset['images']}
    measured = beyond = tiny = 0
    for entry in dataset['annotations']:
        width, height = sizes[entry['image_id']]
        x, y, box_width, box_height = entry['bbox']
        tiny += max(x + box_width, y + box_height) <= 2
        if _is_number(width) and _is_number(height):
            measured += 1
            beyond += x + box_width > 1.05 * width + 1 or y + box_height > 1.05 * height + 1
    expected = 'a bbox is [x, y, width, height] in pixels'
    if tiny and tiny == len(dataset['annotations']):
        return [f'warning: no box reaches beyond the second pixel; {expected}']
    if 2 * beyond > measured:
        return [f'warning: {beyond} of {measured} boxes end outside of their images; {expected}']
    return []


def _stray_note(ids: List[int], table: str) -> str:
    different = sorted(set(ids))
    few = ', '.join(map(str, different[:3])) + (', ...' if len(different) > 3 else '')
    count = '1 annotation is' if len(ids) == 1 else f'{len(ids)} annotations are'
    return f"{count} ignored: '{table}' has no id {few}"


def _id(entry: Dict[str, Any], key: str, where: str) -> int:
    """Return ``entry[key]``, an integer; a whole number written as a decimal becomes one in the entry."""
    value = entry.get(key)
    if isinstance(value, float) and value.is_integer():
        entry[key] = int(value)
    return _value(entry, key, int, where)


def _value(entry: Dict[str, Any], key: str, kind: type, where: str) -> Any:
    """Return ``entry[key]`` if it is of the type ``kind``."""
    if key not in entry:
        raise _InvalidDataset(f"{where} has no '{key}'")
    value = entry[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _InvalidDataset(f"{where}: its '{key}' is {_kind(value)}, not {_KINDS[kind]}")
    if kind is int and value.bit_length() > 63:
        raise _InvalidDataset(f"{where}: its '{key}' has more than 63 bits")
    return value


def _is_number(value: Any) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and value.bit_length() < 64
    return isinstance(value, float) and math.isfinite(value)


def _is_file_name(name: str) -> bool:
    """Return whether it can name a file: no null character, no lone surrogates, not only dots and slashes."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return '\0' not in name and name.strip('./') != ''


_KINDS = {
    dict: 'an object',
    list: 'a list',
    str: 'text',
    int: 'an integer',
    float: 'a decimal number',
    bool: 'true or false',
    type(None): 'null',
}


def _kind(value: Any) -> str:
    return _KINDS[type(value)]
