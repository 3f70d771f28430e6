"""Read and check an annotations file in COCO's instances format."""

import json
import os
from typing import Any, Collection, Dict, List, Tuple

from ..system.errors import DataError

_KINDS = {int: 'an integer of at most 63 bits', str: 'text', list: 'a list'}


def read_instances(path: str) -> Tuple[Dict[str, Any], List[str]]:
    """Read and check an annotations file.

    A file without ``annotations``, as COCO's image_info files are, has none. Ids that are whole numbers
    written as decimals (``1.0``) become integers. Annotations of categories or images that are not listed are
    dropped, as pycocotools ignores them.

    Returns:
        Its content without segmentations, where missing ``area`` and ``iscrowd`` are filled in and
        annotations are renumbered from 1; and a line for each assumption about it.

    Raises:
        DataError: the file cannot be read, is not valid JSON or not a COCO instances file.
    """

    def read_object(entry: Dict[str, Any]) -> Dict[str, Any]:
        # done while parsing, so that the polygons are never all in memory
        entry.pop('segmentation', None)
        return entry

    try:
        with open(path, encoding='utf-8-sig') as file:
            dataset = json.load(file, object_hook=read_object)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        what = f'{type(error).__name__}: {error}'
        raise DataError(f'cannot read the annotations file {path} as JSON: {what}') from None
    try:
        images = _check_entries(dataset, 'images', 'file_name')
        categories = _check_entries(dataset, 'categories', 'name')
        dataset.setdefault('annotations', [])
        notes = _check_annotations(dataset, images, categories)
    except ValueError as error:
        raise DataError(f'{path} is not a COCO instances file: {error}') from None
    return dataset, _box_notes(dataset) + notes


def _check_entries(dataset: Any, key: str, text: str) -> Dict[int, str]:
    """Check a list of images or categories; return their texts by id."""
    found: Dict[int, str] = {}
    for position, entry in enumerate(_value(dataset, key, list, 'it')):
        where = f'{key}[{position}]'
        number, name = _value(entry, 'id', int, where), _value(entry, text, str, where)
        if key == 'images' and not _is_file_name(name):
            raise ValueError(f"{where}: its 'file_name' is not a valid file name")
        if number in found:
            raise ValueError(f"the id {number} is used twice in '{key}': for {found[number]} and for {name}")
        found[number] = name
    if not found:
        raise ValueError(f"'{key}' is empty")
    return found


def _check_annotations(
    dataset: Dict[str, Any], images: Collection[int], categories: Collection[int]
) -> List[str]:
    """Check annotations, fill in defaults, drop those that do not count, and renumber the others; return the
    notes."""
    kept, strays = [], {'category_id': [], 'image_id': []}
    for position, entry in enumerate(_value(dataset, 'annotations', list, 'it')):
        where = f'annotations[{position}]'
        image_id, category = (_value(entry, key, int, where) for key in ('image_id', 'category_id'))
        if category not in categories or image_id not in images:
            key = 'image_id' if category in categories else 'category_id'
            strays[key].append(entry[key])
            continue
        box = _value(entry, 'bbox', list, where)
        if len(box) != 4 or not all(map(_is_number, box)) or min(box[2:]) < 0:
            raise ValueError(f'{where}: its bbox is {json.dumps(box)[:80]}, not [x, y, width, height]')
        if not _is_number(entry.setdefault('area', box[2] * box[3])):
            raise ValueError(f"{where}: its 'area' is not a number")
        if entry.setdefault('iscrowd', 0) not in (0, 1):
            raise ValueError(f"{where}: its 'iscrowd' is neither 0 nor 1")
        kept.append(entry)
        # COCOeval needs unique ids, and treats a match with annotation 0 as no match.
        entry['id'] = len(kept)
    if dataset['annotations'] and not kept:
        raise ValueError('none of its annotations is of a listed image and category')
    dataset['annotations'] = kept
    note = 'annotations ignored: {}, whose {} is not listed, such as {}'
    return [note.format(len(ids), key, ids[0]) for key, ids in strays.items() if ids]


def _box_notes(dataset: Dict[str, Any]) -> List[str]:
    """A line if most boxes are no [x, y, width, height] in pixels, as those of other formats."""
    sizes = {entry['id']: (entry.get('width'), entry.get('height')) for entry in dataset['images']}
    wrong = 0
    for entry in dataset['annotations']:
        width, height = sizes[entry['image_id']]
        x, y, box_width, box_height = entry['bbox']
        right, bottom = x + box_width, y + box_height
        wrong += max(right, bottom) <= 2
        if _is_number(width) and _is_number(height):
            wrong += right > 1.05 * width + 1 or bottom > 1.05 * height + 1
    if 2 * wrong > len(dataset['annotations']):
        return [
            f'warning: {wrong} boxes end outside of their images, or before the third pixel; a bbox is'
            ' [x, y, width, height] in pixels'
        ]
    return []


def _value(entry: Any, key: str, kind: type, where: str) -> Any:
    """Return ``entry[key]`` if it is of the type ``kind``; a whole number that is written as a decimal
    becomes an integer in the entry."""
    if not isinstance(entry, dict):
        raise ValueError(f'{where} is not an object')
    if key not in entry:
        raise ValueError(f"{where} has no '{key}'")
    value = entry[key]
    if kind is int and isinstance(value, float) and value.is_integer():
        value = entry[key] = int(value)
    if not isinstance(value, kind) or isinstance(value, bool) or (kind is int and value.bit_length() > 63):
        raise ValueError(f"{where}: its '{key}' is not {_KINDS[kind]}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**63


def _is_file_name(name: str) -> bool:
    """Return whether it can name a file: no null character, no lone surrogates, not only dots and slashes."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return '\0' not in name and name.strip('./') != ''
