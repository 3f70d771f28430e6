"""Made-up evaluations with every kind of error."""

import json
import os

import cv2
import numpy as np

from centernet.coco import CocoData, compute_metrics
from centernet.files import sha256
from centernet.report import Run

SIZE = 640, 480


def made_up_dataset(images=60, classes=5, seed=0, per_image=6, background=20, kinds=None):
    """A COCO data set, and results with all of TIDE's errors; scores have two decimals, with many ties.

    ``per_image``, ``background``: means of the objects, and of the detections where nothing is, of an image.
    ``kinds``: among so many classes are the latter of an image; None: among all.
    """
    random = np.random.RandomState(seed)
    categories = [{'id': 3 * number + 1, 'name': f'class {number}'} for number in range(classes)]
    dataset = {'images': [], 'annotations': [], 'categories': categories}
    results = []

    def category():
        return categories[random.randint(classes)]['id']

    def detect(image_id, category_id, box, score):
        box = [round(float(value), 2) for value in box]
        score = round(float(min(max(score, 0.01), 1)), 2)
        results.append({'image_id': image_id, 'category_id': category_id, 'bbox': box, 'score': score})

    def somewhere():
        width, height = np.exp(random.uniform(2.5, 5, 2))
        return [random.uniform(0, SIZE[0] - width), random.uniform(0, SIZE[1] - height), width, height]

    for image_id in range(1, images + 1):
        name = f'{image_id}.jpg'
        dataset['images'].append({'id': image_id, 'file_name': name, 'width': SIZE[0], 'height': SIZE[1]})
        for _ in range(random.poisson(per_image)):
            box, own = somewhere(), category()
            is_crowd = int(random.rand() < 0.05)
            annotation = {'id': len(dataset['annotations']) + 1, 'image_id': image_id, 'category_id': own}
            annotation.update(bbox=box, area=box[2] * box[3], iscrowd=is_crowd)
            dataset['annotations'].append(annotation)
            near = np.array(box) + random.normal(0, 0.04, 4) * box[2] * [1, 1, 1, 1]
            far = np.array(box) + np.array([0.45 * box[2], 0, 0, 0])  # an IoU of about 0.38
            near[2:] = np.maximum(near[2:], 1)
            score = random.beta(4, 2)
            kind = random.choice(6, p=[0.6, 0.08, 0.08, 0.08, 0.08, 0.08])
            if kind in (0, 3):
                detect(image_id, own, near, score)
            if kind == 1:
                detect(image_id, category(), near, score)
            if kind == 2:
                detect(image_id, own, far, score)
            if kind == 3:
                detect(image_id, own, np.array(near) + 0.5, score * random.rand())
            if kind == 4:
                detect(image_id, category(), far, score)
        near = [category() for _ in range(kinds or 0)]
        for _ in range(random.poisson(background)):
            own = near[random.randint(kinds)] if near else category()
            detect(image_id, own, somewhere(), random.beta(1.2, 6))
    return dataset, results


def made_up_run(folder='made-up', **options):
    """The same as a Run."""
    dataset, results = made_up_dataset(**options)
    data = CocoData(dataset, f'{folder}/annotations.json', folder)
    return run_of(data, results, folder)


def run_of(data, results, folder='made-up'):
    """A Run of detections, with a metrics.json as a network's evaluation would have it."""
    times = {'mean': 1.0, 'median': 1.0, 'p95': 2.0}
    stages = {stage: dict(times) for stage in ('load', 'pre', 'net', 'dec', 'post')}
    metrics = compute_metrics(data, results, data.image_ids)
    document = {
        'metrics': metrics.stats,
        'per_class': metrics.per_class,
        'images': len(data.image_ids),
        'failed_images': {},
        'timings': {'images_per_second': 10.0, 'stages_ms': stages},
        'protocol': {
            'keep_res': False,
            'height': 512,
            'width': 512,
            'normalization': {'name': 'coco', 'mean': [0.4, 0.4, 0.4], 'std': [0.3, 0.3, 0.3]},
            'flip_test': False,
            'test_scales': [1.0],
            'nms': False,
            'max_per_image': 100,
        },
        'network': {
            'arch': 'dla_34',
            'runner': 'torch',
            'torch': '2.0',
            'device': 'cpu',
            'weights': 'a.pth',
            'weights_sha256': 'ab',
        },
        'data': {
            'annotations': data.annotations,
            'annotations_sha256': 'cd',
            'images': data.images,
            'image_ids': None,
            'categories': [{'id': number, 'name': name} for number, name in data.evaluated],
        },
        'batch_size': 1,
        'versions': {'centernet': '0'},
    }
    return Run(folder, document, results, data, list(data.image_ids))


def write_run(folder, pictures=8, names=(), **options):
    """Write a made-up evaluation: annotations.json, images/ and run/.

    Args:
        folder: a pathlib.Path; created.
        pictures: so many different ones, which the images share; with 0 only the first image has a file, and
            that is damaged.
        names: of the classes.
        options: of :func:`made_up_dataset`.

    Returns:
        The folder of the run.
    """
    dataset, results = made_up_dataset(**options)
    for category, name in zip(dataset['categories'], names):
        category['name'] = name
    images, run = folder / 'images', folder / 'run'
    images.mkdir(parents=True)
    run.mkdir()
    paths = [images / image['file_name'] for image in dataset['images']]
    if not pictures:
        paths[0].write_text('not a picture')
    random = np.random.RandomState(0)
    for number, path in enumerate(paths if pictures else ()):
        if number < pictures:
            noise = random.randint(0, 256, (SIZE[1] // 40, SIZE[0] // 40, 3)).astype(np.uint8)
            cv2.imwrite(str(path), cv2.resize(noise, SIZE, interpolation=cv2.INTER_CUBIC))
        else:
            os.link(str(paths[number % pictures]), str(path))
    annotations = folder / 'annotations.json'
    annotations.write_text(json.dumps(dataset))
    document = run_of(CocoData.load(None, str(annotations), str(images)), results).document
    document['data']['annotations_sha256'] = sha256(str(annotations))
    (run / 'metrics.json').write_text(json.dumps(document))
    (run / 'results.json').write_text(json.dumps(results))
    return run
