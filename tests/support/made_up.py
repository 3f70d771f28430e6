"""Made-up evaluations with every kind of error."""

import json
import os

import cv2
import numpy as np

from centernet.coco import CocoData, compute_metrics
from centernet.networks.network import NetworkInfo
from centernet.options.normalization import COCO
from centernet.options.protocol import Protocol
from centernet.options.selection import Loading, Selection
from centernet.report import Run
from centernet.runs import run as folders
from centernet.runs.evaluate import conclude
from centernet.runs.journal import Finished
from centernet.runs.record import Data, Environment, Record
from centernet.runs.timings import ImageTimes
from centernet.system.files import sha256

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
    """A Run of detections, as a network's evaluation would have it."""
    times = {'mean': 1.0, 'median': 1.0, 'p95': 2.0}
    stages = {stage: dict(times) for stage in ('load', 'pre', 'net', 'dec', 'post')}
    metrics = compute_metrics(data, results, data.image_ids)
    document = {
        'metrics': metrics.stats,
        'per_class': metrics.per_class,
        'images': len(data.image_ids),
        'failed_images': {},
        'timings': {'images_per_second': 10.0, 'stages_ms': stages},
    }
    return Run(folder, record_of(data, 'cd'), document, results, data, list(data.image_ids))


def record_of(data, digest):
    """The record of an evaluation on data whose annotations file has the SHA-256 ``digest``."""
    heads = {'hm': len(data.categories), 'wh': 2, 'reg': 2}
    return Record(
        network=NetworkInfo(
            file='a.pth', sha256='ab', arch='dla_34', heads=heads, runtime='torch', device='cpu'
        ),
        data=Data(
            annotations=data.annotations, sha256=digest, images=data.images, channels=tuple(data.channels)
        ),
        protocol=Protocol(input_height=512, input_width=512, normalization=COCO),
        selection=Selection(),
        loading=Loading(batch_size=1, workers=0),
        environment=Environment(device='cpu', device_type='cpu'),
    )


def write_results(folder, data, results):
    """Write the folder of an evaluation with these detections."""
    record = record_of(data, sha256(data.annotations))
    times = ImageTimes(load=1, pre=1, net=1, dec=1, post=1, wall=1, warm_up=False)
    found = {image_id: [] for image_id in data.image_ids}
    for result in results:
        found[result['image_id']].append(result)
    with folders.Run.begin(str(folder), record) as run:
        run.add([Finished(image_id, own, times, SIZE[::-1]) for image_id, own in found.items()], {})
        conclude(run, data)
    return folder


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
    images = folder / 'images'
    images.mkdir(parents=True)
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
    return write_results(folder / 'run', CocoData.load(None, str(annotations), str(images)), results)
