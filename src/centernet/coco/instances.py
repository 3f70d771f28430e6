"""An annotations file in COCO's instances format, read and checked."""

import json
import math
import os
import re

from ..errors import DataError

#: reading a number of a million digits takes minutes; no value here has so many
_LONG_NUMBER = re.compile('[0-9]{1000}')


def read_instances(path):
    """Read and check an annotations file; returns its dict, without segmentations."""

    def drop_segmentation(entry):  # while parsing, so that the polygons are never all in memory
        entry.pop('segmentation', None)
        return entry

    try:
        with open(path, encoding='utf-8-sig') as file:
            text = file.read()
        if _LONG_NUMBER.search(text):
            raise DataError(f'the annotations file {path} holds a number of 1000 digits or more')
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
        raise DataError(f'the annotations file {path} is not valid JSON: it is nested too deeply') from None
    except MemoryError:
        raise DataError(f'the annotations file {path} is too large for the memory') from None
    except OSError as error:
        raise DataError(f'cannot read the annotations file {path}: {error.strerror}') from None
    try:
        _check_dataset(dataset)
    except _Flaw as flaw:
        raise DataError(f'{path} is not a COCO instances file: {flaw}') from None
    return dataset


class _Flaw(Exception):
    """What is wrong in an annotations file."""


def _check_dataset(dataset):
    """Check all that the evaluation relies on, fill in what has a default, and number the annotations."""
    if not isinstance(dataset, dict):
        raise _Flaw(f'it holds {_kind(dataset)}, not an object with images, annotations and categories')
    for key in ('images', 'annotations', 'categories'):
        if key not in dataset:
            hint = ' (image_info files have no ground truth to compare with)' if key == 'annotations' else ''
            raise _Flaw(f"it has no '{key}'{hint}")
        if not isinstance(dataset[key], list):
            raise _Flaw(f"'{key}' is {_kind(dataset[key])}, not a list")
        for position, entry in enumerate(dataset[key]):
            if not isinstance(entry, dict):
                raise _Flaw(f'{key}[{position}] is {_kind(entry)}, not an object')
    for key, text in (('images', 'file_name'), ('categories', 'name')):
        seen = {}
        if not dataset[key]:
            raise _Flaw(f"'{key}' is empty")
        for position, entry in enumerate(dataset[key]):
            where = f'{key}[{position}]'
            number, name = _value(entry, 'id', int, where), _value(entry, text, str, where)
            if key == 'images' and not _is_file_name(name):
                raise _Flaw(f"{where}: its 'file_name' cannot be the name of a file")
            if number in seen:
                raise _Flaw(f"the id {number} is used twice in '{key}': for {seen[number]} and for {name}")
            seen[number] = name
    categories = {entry['id'] for entry in dataset['categories']}
    for position, entry in enumerate(dataset['annotations']):
        where = f'annotations[{position}]'
        _value(entry, 'image_id', int, where)
        if _value(entry, 'category_id', int, where) not in categories:
            raise _Flaw(
                "{} is of category {}, which 'categories' does not have".format(where, entry['category_id'])
            )
        box = _value(entry, 'bbox', list, where)
        if len(box) != 4 or not all(_is_number(value) for value in box) or min(box[2:]) < 0:
            raise _Flaw(f'{where}: its bbox is {json.dumps(box)[:80]}, not [x, y, width, height]')
        if not _is_number(entry.setdefault('area', box[2] * box[3])):
            raise _Flaw(f"{where}: its 'area' is not a number")
        if entry.setdefault('iscrowd', 0) not in (0, 1):
            raise _Flaw(f"{where}: its 'iscrowd' is neither 0 nor 1")
        # COCOeval needs ids that differ, and takes a match with the annotation 0 for none.
        entry['id'] = position + 1


def _value(entry, key, kind, where):
    if key not in entry:
        raise _Flaw(f"{where} has no '{key}'")
    value = entry[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _Flaw(f"{where}: its '{key}' is {_kind(value)}, not {_KINDS[kind]}")
    if kind is int and value.bit_length() > 63:
        raise _Flaw(f"{where}: its '{key}' has more than 63 bits")
    return value


def _is_number(value):
    if isinstance(value, int):
        return not isinstance(value, bool) and value.bit_length() < 64
    return isinstance(value, float) and math.isfinite(value)


def _is_file_name(name):
    """Whether the system takes it for a name at all: no null, no half characters, not only dots and
    slashes."""
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
    float: 'a fraction',
    bool: 'true or false',
    type(None): 'null',
}


def _kind(value):
    return _KINDS[type(value)]
