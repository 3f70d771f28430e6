"""Time and memory of ``centernet report`` for a data set of COCO's size.

    python benchmarks/report.py [--images 5000] [--classes 80] [--pair]

The results are made up: 7 objects and 100 detections per image, as CenterNet writes them. With ``--pair`` the
report compares two such evaluations. Memory is that of the command and its processes together.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import cv2
import numpy as np

from centernet.coco import CocoData, compute_metrics
from centernet.files import sha256
from centernet.sample import SAMPLE_WEIGHTS

WIDTH, HEIGHT, DETECTIONS, PICTURES = 640, 480, 100, 8


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', type=int, default=5000, metavar='N', help='images (default: 5000)')
    parser.add_argument('--classes', type=int, default=80, metavar='N', help='classes (default: 80)')
    parser.add_argument('--pair', action='store_true', help='compare two evaluations')
    parser.add_argument('--json', action='store_true', help='print JSON')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = make_data(folder, options.images, options.classes)
        runs = [os.path.join(folder, f'run{number}') for number in range(1 + options.pair)]
        for seed, run in enumerate(runs):
            make_run(data, run, options.classes, seed)
        output = os.path.join(folder, 'report')
        command = [sys.executable, '-m', 'centernet', 'report', *runs, '--output', output]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        most = 0
        while process.poll() is None:
            most = max(most, sum(memory(pid) for pid in [process.pid, *children(process.pid)]))
            time.sleep(0.25)
        if process.returncode:
            sys.exit(process.returncode)
        found = {
            'images': options.images,
            'classes': options.classes,
            'seconds': time.perf_counter() - start,
            'peak_mib': most / 1024,
            'page_mib': os.path.getsize(os.path.join(output, 'report.html')) / 2**20,
        }
    layout = '{images} images, {classes} classes: {seconds:.1f} s, {peak_mib:.0f} MiB; {page_mib:.1f} MiB'
    print(json.dumps(found, indent=2) if options.json else layout.format(**found))


def make_data(folder, images, classes):
    """Write annotations and pictures; return the data set."""
    random = np.random.RandomState(0)
    dataset = {'images': [], 'annotations': [], 'categories': []}
    for number in range(classes):
        dataset['categories'].append({'id': number + 1, 'name': f'class {number}'})
    root = os.path.join(folder, 'images')
    os.makedirs(root)
    for number in range(PICTURES):
        noise = random.randint(0, 256, (HEIGHT // 8, WIDTH // 8, 3)).astype(np.uint8)
        cv2.imwrite(os.path.join(folder, f'{number}.jpg'), cv2.resize(noise, (WIDTH, HEIGHT)))
    for number in range(1, images + 1):
        name = f'{number:012d}.jpg'
        os.link(os.path.join(folder, f'{number % PICTURES}.jpg'), os.path.join(root, name))
        dataset['images'].append({'id': number, 'file_name': name, 'width': WIDTH, 'height': HEIGHT})
        for box in boxes(random, random.poisson(7.3)):
            annotation = {'id': len(dataset['annotations']) + 1, 'image_id': number, 'bbox': box}
            annotation.update(category_id=int(random.randint(classes)) + 1, iscrowd=int(random.rand() < 0.01))
            dataset['annotations'].append(dict(annotation, area=box[2] * box[3]))
    path = os.path.join(folder, 'annotations.json')
    with open(path, 'w') as file:
        json.dump(dataset, file)
    return CocoData.load(None, path, root)


def boxes(random, count):
    size = np.exp(random.uniform(2.5, 5.5, (count, 2)))
    corner = random.rand(count, 2) * np.maximum([WIDTH, HEIGHT] - size, 1)
    return np.concatenate([corner, size], axis=1).round(2).tolist()


def make_run(data, folder, classes, seed):
    """Write results.json and metrics.json: most objects are found, and the other detections are weak."""
    random, results = np.random.RandomState(seed), []
    for image_id in data.image_ids:
        found = []
        for entry in data.coco.imgToAnns.get(image_id, []):
            if random.rand() < 0.8:
                moved = np.array(entry['bbox']) + random.normal(0, 0.05, 4) * entry['bbox'][2]
                category = entry['category_id'] if random.rand() < 0.9 else int(random.randint(classes)) + 1
                box = np.maximum(moved, [0, 0, 1, 1]).round(2).tolist()
                found.append((box, category, random.beta(4, 2)))
        near = random.randint(1, classes + 1, 20)  # classes of an image's detections repeat
        for box in boxes(random, DETECTIONS - len(found)):
            found.append((box, int(near[random.randint(20)]), random.beta(1, 15)))
        for box, category, score in found:
            score = round(float(score), 2)
            results.append({'image_id': image_id, 'category_id': category, 'bbox': box, 'score': score})
    metrics = compute_metrics(data, results, data.image_ids)
    stage = {'mean': 1.0, 'median': 1.0, 'p95': 1.0}
    document = {
        'metrics': metrics.stats,
        'images': len(data.image_ids),
        'timings': {
            'images_per_second': 1.0,
            'stages_ms': dict.fromkeys(('load', 'pre', 'net', 'dec', 'post'), stage),
        },
        'protocol': {
            'keep_res': False,
            'height': 512,
            'width': 512,
            'normalization': {'name': 'coco', 'mean': [0.5] * 3, 'std': [1] * 3},
            'flip_test': False,
            'test_scales': [1.0],
            'nms': False,
            'max_per_image': 100,
        },
        'network': {
            'arch': 'dla_34',
            'runner': 'torch',
            'torch': 'none',
            'device': 'cpu',
            'weights': SAMPLE_WEIGHTS,
            'weights_sha256': 'none',
        },
        'data': {
            'annotations': data.annotations,
            'annotations_sha256': sha256(data.annotations),
            'images': data.images,
            'image_ids': None,
            'categories': [{'id': number, 'name': name} for number, name in data.evaluated],
        },
        'batch_size': 1,
        'versions': {},
    }
    os.makedirs(folder)
    for name, content in (('results.json', results), ('metrics.json', document)):
        with open(os.path.join(folder, name), 'w') as file:
            json.dump(content, file)


def children(pid):
    try:
        with open(f'/proc/{pid}/task/{pid}/children') as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def memory(pid):
    """What a process uses in KiB; what it shares is divided among those that share it."""
    try:
        with open(f'/proc/{pid}/smaps_rollup') as file:
            return next((int(line.split()[1]) for line in file if line.startswith('Pss:')), 0)
    except OSError:
        return 0


if __name__ == '__main__':
    main()
