import json

import cv2
import numpy as np
import pytest


@pytest.fixture
def make_coco(tmp_path):
    """Write a small data set in COCO's layout and return its folder."""

    def make(
        annotations=(),
        images=(1, 2),
        categories=((1, 'cat'), (3, 'dog')),
        root='data',
        stem='instances_val2017',
        folder='val2017',
        size=(200, 200),
    ):
        root = tmp_path / root
        (root / 'annotations').mkdir(parents=True)
        (root / folder).mkdir(parents=True)
        for number in images:
            assert cv2.imwrite(str(root / folder / f'{number}.png'), np.full((4, 4, 3), 127, np.uint8))
        dataset = {
            'images': [
                {'id': number, 'file_name': f'{number}.png', 'height': size[0], 'width': size[1]}
                for number in images
            ],
            'annotations': [annotation(number, **given) for number, given in enumerate(annotations, start=1)],
            'categories': [
                {'id': number, 'name': name, 'supercategory': 'thing'} for number, name in categories
            ],
        }
        (root / 'annotations' / (stem + '.json')).write_text(json.dumps(dataset), encoding='utf-8')
        return root

    return make


def annotation(number, image=1, category=1, bbox=(0, 0, 50, 50), **more):
    x, y, width, height = bbox
    entry = {
        'id': number,
        'image_id': image,
        'category_id': category,
        'bbox': list(bbox),
        'area': width * height,
        'iscrowd': 0,
        'segmentation': [[x, y, x + width, y, x + width, y + height, x, y + height]],
    }
    entry.update(more)
    return entry
