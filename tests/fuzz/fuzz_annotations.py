"""Annotations files: wrong, huge and contradictory values, mutated bytes, and inputs that are known to harm
JSON parsers."""

import copy
import json
import os

import cv2
import numpy as np
from support.fuzzing import MIB
from support.mutations import mutated

from centernet.coco import CocoData, compute_metrics, read_image, to_results
from centernet.system.errors import DataError, UserError

NAME = 'annotations'
#: bytes of memory per byte of the file; '{},' becomes a dictionary of up to 240 bytes
MULTIPLE = 150
_VALUES = (
    None,
    True,
    False,
    0,
    -1,
    1,
    5,
    9,
    100,
    103,
    1.0,
    5.0,
    103.0,
    1.5,
    -0.0,
    1e308,
    10**18,
    -(10**18),
    10**400,
    float('nan'),
    float('inf'),
    '',
    'red',
    '000.png',
    '../000.png',
    'val2017\\000.png',
    'C:\\data\\val2017\\001.png',
    '/data/val2017/000.png',
    'val2017/./001.png',
    '..\\..\\000.png',
    '\\',
    'C:',
    'a/' * 3000 + '000.png',
    'Red',
    'person',
    'colour',
    '/dev/zero',
    '/dev/stdin',
    '.',
    '/',
    'a\0b',
    '\ud800',
    'x' * 5000,
    [],
    {},
    [[]],
    [0, 0, 1, 1],
    [0, 0, 1e308, 1e308],
    [10**400] * 4,
    [0, 0, -1, 1],
    ['a'] * 4,
    [None] * 4,
    {'counts': [1, 2], 'size': [3, 4]},
)


def prepare(folder):
    os.mkdir(os.path.join(folder, 'val2017'))
    for name in ('000.png', '001.png'):
        assert cv2.imwrite(os.path.join(folder, 'val2017', name), np.zeros((8, 8, 3), np.uint8))


def _document():
    return {
        'info': {'year': 2017},
        'licenses': [{'id': 1}],
        'images': [
            {'id': 100 + 3 * i, 'file_name': f'00{i % 2}.png', 'width': 8, 'height': 8} for i in range(4)
        ],
        'annotations': [
            {
                'id': i,
                'image_id': 100 + 3 * (i % 4),
                'category_id': (5, 9)[i % 2],
                'bbox': [0, 1.5, 3, 4],
                'area': 12.0,
                'iscrowd': i % 2,
                'segmentation': [[0, 0, 3, 0, 3, 3]],
            }
            for i in range(6)
        ],
        'categories': [{'id': 5, 'name': 'red', 'supercategory': 'colour'}, {'id': 9, 'name': 'green'}],
    }


def _document_of_others(draw):
    """The same as other tools write it: ids as decimals, a category for the group, names of another machine,
    strays, or no annotations."""
    document = _document()
    prefix = draw.choice(('', 'C:\\pets\\val2017\\', '/home/a/pets/', 'pets/', '..\\', '/dev/'))
    for image in document['images']:
        image.update(id=float(image['id']), file_name=prefix + image['file_name'])
    for entry in document['annotations']:
        entry['category_id'] = draw.choice((5.0, 9.0, 9, 7))
        entry['image_id'] = draw.choice((100.0, 103, 7))
    document['categories'].append({'id': 0, 'name': 'colour', 'supercategory': 'none'})
    if draw.randrange(4) == 0:
        del document['annotations']
    return document


def make(draw, folder, canary):
    # beside the images, or elsewhere
    path = os.path.join(folder, draw.choice(('', 'val2017')), 'case.json')
    kind = draw.choice(('values', 'values', 'values', 'bytes', 'bytes', 'bomb'))
    if kind == 'bomb':
        data = _bomb(draw)
    else:
        document = _document_of_others(draw) if draw.randrange(3) == 0 else _document()
        for _ in range(draw.choice((1, 1, 2, 5)) if kind == 'values' else 0):
            _change(draw, document)
        data = json.dumps(document).encode(draw.choice(('utf-8', 'utf-8', 'utf-8', 'utf-8-sig', 'utf-16')))
        if kind == 'bytes':
            data = mutated(
                draw,
                data,
                (b'NaN', b'Infinity', b'-Infinity', b'1e999', b'\\ud800', b'"id":1,"id":2', b'[[[['),
            )
    with open(path, 'wb') as file:
        file.write(data)
    return path


def _change(draw, document):
    """Replace, remove, repeat or move one value anywhere in the document."""
    place = document
    for _ in range(draw.randrange(4)):
        inner = [
            value
            for value in (place.values() if isinstance(place, dict) else place)
            if isinstance(value, (dict, list)) and value
        ]
        if not inner:
            break
        place = draw.choice(inner)
    key = draw.choice(list(place)) if isinstance(place, dict) else draw.randrange(len(place))
    change = draw.randrange(6)
    if change == 0:
        del place[key]
        if not place and place is document:
            place['images'] = []
    elif change == 1 and isinstance(place, list):
        place.append(copy.deepcopy(place[key]))
    elif change == 2 and isinstance(place, dict):
        place[draw.choice(('id', 'bbox', 'images', 'file_name', 'area', 'iscrowd', 'width'))] = copy.deepcopy(
            draw.choice(_VALUES)
        )
    else:
        place[key] = copy.deepcopy(draw.choice(_VALUES))


def _bomb(draw):
    many = draw.choice((100, 3000, 60000))
    kind = draw.randrange(10)
    if kind == 0:
        return b'[' * many
    if kind == 1:
        return b'{"a":' * many + b'1' + b'}' * many
    if kind == 2:
        return b'{"images":[' + b'{},' * many + b'{}],"annotations":[],"categories":[]}'
    if kind == 3:
        return (
            json.dumps(dict(_document(), info=0))
            .encode()
            .replace(b'"info": 0', b'"info": ' + b'7' * many * 4)
        )
    if kind == 4:  # many categories of one name
        document = dict(_document(), categories=[{'id': i, 'name': 'same'} for i in range(min(many, 20000))])
        return json.dumps(document).encode()
    if kind == 5:
        return b'[' + b'[],' * many + b'[]]'
    if kind == 6:
        document = _document()
        document['annotations'] = [
            dict(document['annotations'][0], image_id=100 + i % 4) for i in range(min(many, 3000))
        ]
        return json.dumps(document).encode()
    if kind == 7:  # many categories that name the group of each other
        document = dict(
            _document(),
            categories=[
                {'id': i, 'name': f'{i % draw.choice((1, 7, many))}', 'supercategory': str(i % 5)}
                for i in range(min(many, 20000))
            ],
        )
        return json.dumps(document).encode()
    if kind == 8:  # many names of another machine
        document = _document()
        document['images'] += [
            {'id': 1000 + i, 'file_name': f'C:\\{i}' + '\\a' * draw.choice((1, 20)) + '\\x.png'}
            for i in range(min(many, 3000))
        ]
        return json.dumps(document).encode()
    return b'"' + b'\\u00e4' * many + b'"'


def run(path):
    """Read the file, match its categories and evaluate some detections, like an evaluation."""
    folder = os.path.dirname(path)
    if os.path.basename(folder) == 'val2017':
        data = CocoData.load(folder)
    else:
        data = CocoData.load(annotations=path, images=os.path.join(folder, 'val2017'))
    assert len(set(data.class_names)) == len(data.categories)
    assert all(len(note) < 2000 for note in data.notes)
    for count, names, wanted in (
        (2, ('green', 'RED'), None),
        (2, None, None),
        (80, None, None),
        (3, ('red', 'person', '-'), None),
        (3, None, ('9', '-', 'Red')),
    ):
        _match(data, count, names, wanted)
    read = 0
    for image_id in data.image_ids[:8]:
        data.ground_truth(image_id)
        try:
            read += read_image(data.file(image_id)).size > 0
        except DataError:
            pass
    if len(data.categories) < 10:
        results = [
            item
            for image_id in data.image_ids[:8]
            for item in to_results(image_id, np.array([[0, 1.5, 3, 5.5, 0.9, 0]], np.float32), data.channels)
        ]
        json.dumps(compute_metrics(data, results, data.image_ids[:8]).stats, allow_nan=False)


def _match(data, count, names, wanted):
    try:
        matched = data.matched(count, names, wanted)
    except UserError as error:
        assert len(str(error)) < 5000
        return
    assert len(matched.channels) == count and any(matched.channels)
    assert len(matched.evaluated) == len(set(matched.evaluated))
    assert all(len(note) < 2000 for note in matched.notes)
    for image_id in data.image_ids[:2]:
        assert set(matched.ground_truth(image_id).classes.tolist()) <= set(matched.channel_of().values())


def allowance(path):
    return 64 * MIB + MULTIPLE * os.path.getsize(path)
