"""Images per second of ``centernet eval-pth`` and of a plain loop in the style of CenterNet's test.py.

    python benchmarks/eval.py [--repeats 5] [--only dla_tiny|res_18] [--images N]

The plain loop takes one image at a time, preprocessed by one loader process, through the same network and the
same decode and postprocess functions, with torch's default threads. It runs a second time with the threads of
eval-pth, to show their share of the difference. Every measurement is a process of its own, because OpenMP
reads its settings when torch is imported. The loops take turns, so that other load affects all of them. The
time includes the start of the loader processes, but not imports, loading the network, or COCO's figures.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List, Tuple

LOOPS = ('ours', 'plain', 'plain, our threads')
#: network -> default number of images
NETWORKS = {'dla_tiny': 200, 'res_18': 24}
#: (width, height) of the pictures for res_18, as common in COCO
SIZES = ((640, 480), (480, 640), (640, 427))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--repeats', type=int, default=5, metavar='N', help='runs of each loop (default: 5)')
    parser.add_argument('--only', choices=sorted(NETWORKS), help='one of the networks (default: both)')
    defaults = ', '.join(f'{images} for {name}' for name, images in NETWORKS.items())
    parser.add_argument('--images', type=int, metavar='N', help=f'images per run (default: {defaults})')
    parser.add_argument('--json', action='store_true', help='print JSON')
    parser.add_argument('--plain', nargs=4, help=argparse.SUPPRESS)  # a process with the plain loop
    arguments = parser.parse_args()
    if arguments.plain:
        loop, weights, data, images = arguments.plain
        print(json.dumps(plain(loop != 'plain', weights, data, int(images))))
        return
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        for network in [arguments.only] if arguments.only else sorted(NETWORKS):
            images = arguments.images or NETWORKS[network]
            weights, data = prepare(network, images, folder)
            measured[network] = {loop: [] for loop in LOOPS}
            for _ in range(arguments.repeats):
                for loop in LOOPS:
                    run = ours if loop == 'ours' else in_a_new_process
                    measured[network][loop].append(run(loop, weights, data, images))
    print(json.dumps(measured, indent=2) if arguments.json else table(measured))


def table(measured: Dict[str, Dict[str, List[Dict[str, Any]]]]) -> str:
    """Format medians, ranges, and ratios to the plain loop."""
    layout = '{:<9} {:<19} {:>5} {:>7}  {:>9} {:>17} {:>9}'
    lines = [layout.format('network', 'loop', 'batch', 'workers', 'images/s', 'range', 'to plain')]
    for network, loops in measured.items():
        speeds = {loop: [run['images_per_second'] for run in runs] for loop, runs in loops.items()}
        for loop, values in speeds.items():
            ratio = statistics.median(values) / statistics.median(speeds['plain'])
            lines.append(
                layout.format(
                    network,
                    loop,
                    loops[loop][0]['batch_size'],
                    loops[loop][0]['workers'],
                    f'{statistics.median(values):.2f}',
                    f'{min(values):.2f} to {max(values):.2f}',
                    f'{ratio:.2f}x',
                )
            )
    return '\n'.join(lines)


def ours(_loop: str, weights: str, data: str, images: int) -> Dict[str, Any]:
    """Measure ``centernet eval-pth`` with its defaults."""
    words = [sys.executable, '-m', 'centernet', 'eval-pth', '--weights', weights, '--data', data]
    words += ['--limit', str(images), '--device', 'cpu', '--json', '--no-progress']
    with tempfile.TemporaryDirectory() as output:
        found = output_of(words + ['--output', output])
    return {
        'images_per_second': 1000 / found['timings']['mean_ms'],
        'batch_size': found['record']['loading']['batch_size'],
        'workers': found['record']['loading']['workers'],
    }


def in_a_new_process(loop: str, weights: str, data: str, images: int) -> Dict[str, Any]:
    """Run :func:`plain` in a new process."""
    words = [sys.executable, os.path.abspath(__file__), '--plain', loop, weights, data, str(images)]
    return output_of(words)


def output_of(words: List[str]) -> Dict[str, Any]:
    """Run a command and return the JSON document that it prints."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def plain(our_threads: bool, weights: str, root: str, images: int) -> Dict[str, Any]:
    """Measure the plain loop in this process."""
    if our_threads:
        from centernet.system.device import apply_threads, prepare_threads

        threads = prepare_threads()  # before torch is imported
    import torch
    from torch.utils.data import DataLoader

    from centernet.coco import CocoData, to_results
    from centernet.detection import Heads, InputSpec, decode, merge, postprocess
    from centernet.networks.checkpoint import load_model

    if our_threads:
        apply_threads(threads)
    loaded = load_model(weights)
    data = CocoData.load(root)
    spec = InputSpec(*loaded.checkpoint.meta['input_size'])
    ids = data.image_ids[:images]
    files = Files([data.file(image_id) for image_id in ids], spec)
    loader = DataLoader(files, batch_size=1, num_workers=1, collate_fn=only)
    results = []
    start = time.perf_counter()
    with torch.no_grad():
        for image_id, (planes, geometry) in zip(ids, loader):
            heads = loaded.model(planes)
            raw = decode(Heads(heads['hm'], heads['wh'], heads['reg']))
            results += to_results(image_id, merge(postprocess(raw, [geometry])), data.channels)
    seconds = time.perf_counter() - start
    return {'images_per_second': len(ids) / seconds, 'batch_size': 1, 'workers': 1}


class Files:
    """A torch data set of preprocessed images."""

    def __init__(self, paths, spec):
        self.paths = paths
        self.spec = spec

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        import cv2
        import torch

        from centernet.detection import preprocess

        planes, geometry = preprocess(cv2.imread(self.paths[index]), self.spec)
        return torch.from_numpy(planes).unsqueeze(0), geometry


def only(items):
    return items[0]


def prepare(network: str, images: int, folder: str) -> Tuple[str, str]:
    """Return weights and data: the sample for dla_tiny, random weights and noise pictures for res_18."""
    from centernet.sample import SAMPLE_WEIGHTS, sample_folder

    if network == 'dla_tiny':
        return SAMPLE_WEIGHTS, sample_folder(folder)
    import cv2
    import numpy as np
    import torch

    from centernet.networks.architectures import create_model

    torch.manual_seed(0)
    random = np.random.RandomState(0)
    weights, root = os.path.join(folder, network + '.pth'), os.path.join(folder, network)
    state_dict = create_model(network, {'hm': 80, 'wh': 2, 'reg': 2}).state_dict()
    torch.save({'arch': network, 'input_size': [512, 512], 'state_dict': state_dict}, weights)
    os.makedirs(os.path.join(root, 'annotations'))
    os.makedirs(os.path.join(root, 'val2017'))
    records, boxes = [], []
    for index in range(1, images + 1):
        width, height = SIZES[index % 3]
        coarse = random.randint(0, 256, (height // 16, width // 16, 3)).astype(np.uint8)
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        picture = cv2.add(picture, random.randint(0, 24, picture.shape).astype(np.uint8))
        name = f'{index:012d}.jpg'
        if not cv2.imwrite(os.path.join(root, 'val2017', name), picture):
            raise OSError(f'cannot write {name}')
        records.append({'id': index, 'file_name': name, 'width': width, 'height': height})
        box = {'bbox': [10, 10, 100, 100], 'area': 10000, 'iscrowd': 0}
        boxes.append(dict(box, id=index, image_id=index, category_id=1 + index % 80))
    categories = [{'id': index + 1, 'name': f'class {index + 1}'} for index in range(80)]
    document = {'images': records, 'annotations': boxes, 'categories': categories}
    with open(os.path.join(root, 'annotations', 'instances_val2017.json'), 'w', encoding='utf-8') as file:
        json.dump(document, file)
    return weights, root


if __name__ == '__main__':
    main()
