"""Write a made-up evaluation of 80 classes with pictures of COCO's size: ``python coco_sized.py FOLDER``."""

import json
import os
import sys

import cv2
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))
from support.made_up import SIZE, made_up_dataset, run_of

from centernet.coco import CocoData
from centernet.coco.coco_classes import COCO_CLASSES
from centernet.files import sha256


def main(folder: str) -> None:
    dataset, results = made_up_dataset(images=120, classes=80, seed=7)
    for category, name in zip(dataset['categories'], COCO_CLASSES):
        category['name'] = name
    images, run = os.path.join(folder, 'images'), os.path.join(folder, 'run')
    os.makedirs(images)
    os.makedirs(run)
    random = np.random.RandomState(0)
    for image in dataset['images']:
        noise = random.randint(0, 256, (SIZE[1] // 40, SIZE[0] // 40, 3)).astype(np.uint8)
        cv2.imwrite(
            os.path.join(images, image['file_name']), cv2.resize(noise, SIZE, interpolation=cv2.INTER_CUBIC)
        )
    annotations = os.path.join(folder, 'annotations.json')
    with open(annotations, 'w') as file:
        json.dump(dataset, file)
    document = run_of(CocoData.load(None, annotations, images), results).document
    document['data']['annotations_sha256'] = sha256(annotations)
    for name, content in (('metrics.json', document), ('results.json', results)):
        with open(os.path.join(run, name), 'w') as file:
            json.dump(content, file)


if __name__ == '__main__':
    main(sys.argv[1])
