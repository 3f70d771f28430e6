"""Images per second of the evaluation loop, beside a plain loop in the manner of CenterNet's test.py.

    python benchmarks/eval.py [--repeats 5] [--only dla_tiny|res_18] [--images N]

The plain loop takes one image at a time, preprocessed by one loader process, through the same network and the
same decode and post-process functions as ours, and leaves threads as torch sets them. It runs a second time
with our threads, to show how much of the difference they are. Every measurement is a process of its own (the
OpenMP settings are read when torch is imported); the loops take turns, so that whatever else the machine does
hits all of them. The time is that of the loop, with the start of its loader processes, without imports, the
loading of the network and COCO's figures.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, 'src'))

LOOPS = ('ours', 'plain', 'plain, our threads')
#: network -> (images by default, input height and width)
NETWORKS = {'dla_tiny': (200, None), 'res_18': (24, 512)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--repeats', type=int, default=5, metavar='N', help='measurements of each loop (default: 5)'
    )
    parser.add_argument('--only', choices=sorted(NETWORKS), help='one of the networks (default: both)')
    parser.add_argument(
        '--images',
        type=int,
        metavar='N',
        help='images in each measurement (default: {})'.format(
            ', '.join(f'{images} for {name}' for name, (images, _) in NETWORKS.items())
        ),
    )
    parser.add_argument('--json', action='store_true', help='print the measurements as JSON')
    parser.add_argument(
        '--measure', nargs=4, metavar=('LOOP', 'NETWORK', 'IMAGES', 'FOLDER'), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.measure:
        loop, network, images, folder = arguments.measure
        print(json.dumps(measure(loop, network, int(images), folder)))
        return
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        for network in [arguments.only] if arguments.only else sorted(NETWORKS):
            images = arguments.images or NETWORKS[network][0]
            subprocess.check_call(
                [sys.executable, '-c', _PREPARE, network, str(images), folder], env=_environment()
            )
            measured[network] = {loop: [] for loop in LOOPS}
            for _ in range(arguments.repeats):
                for loop in LOOPS:
                    words = [
                        sys.executable,
                        os.path.abspath(__file__),
                        '--measure',
                        loop,
                        network,
                        str(images),
                        folder,
                    ]
                    line = subprocess.check_output(words, env=_environment()).decode().splitlines()[-1]
                    measured[network][loop].append(json.loads(line))
    print(json.dumps(measured, indent=2) if arguments.json else table(measured))


def table(measured):
    """The measurements as text: medians, ranges and the ratio to the plain loop."""
    lines = [
        '{:<9} {:<19} {:>5} {:>7} {:>7}  {:>9} {:>17} {:>9}'.format(
            'network', 'loop', 'batch', 'workers', 'threads', 'images/s', 'range', 'to plain'
        )
    ]
    for network, loops in measured.items():
        plain = statistics.median(run['images_per_second'] for run in loops['plain'])
        for loop, runs in loops.items():
            speeds = [run['images_per_second'] for run in runs]
            lines.append(
                '{:<9} {:<19} {:>5} {:>7} {:>7}  {:>9.2f} {:>17} {:>8.2f}x'.format(
                    network,
                    loop,
                    runs[0]['batch_size'],
                    runs[0]['workers'],
                    runs[0]['threads'],
                    statistics.median(speeds),
                    f'{min(speeds):.2f} to {max(speeds):.2f}',
                    statistics.median(speeds) / plain,
                )
            )
    return '\n'.join(lines)


def measure(loop, network, images, folder):
    """One measurement, in this process."""
    threads = None
    if loop != 'plain':
        from centernet.device import apply_threads, prepare_threads

        threads = prepare_threads()
    from centernet.checkpoint import load_model
    from centernet.coco import CocoData

    if threads:
        apply_threads(threads)
    weights, root = inputs(network, folder)
    loaded = load_model(weights, network)
    data = CocoData.load(root)
    spec = _spec(network, loaded)
    run = _ours if loop == 'ours' else _plain
    return dict(run(loaded, weights, data, spec, images), threads=threads or 'default')


def _ours(loaded, weights, data, spec, images):
    import torch

    from centernet.commands.eval_shared import default_loading
    from centernet.device import available_cpus
    from centernet.evaluation import EvalOptions, TorchRunner, evaluate

    batch_size, workers = default_loading('cpu', spec)
    runner = TorchRunner.of_checkpoint(loaded, torch.device('cpu'), weights, threads=available_cpus())
    options = EvalOptions(input=spec, limit=images, batch_size=batch_size, workers=workers)
    with tempfile.TemporaryDirectory() as output:
        found = evaluate(runner, data, options, output, progress=False)
    return {
        'images_per_second': 1000 / found.timings['mean_ms'],
        'batch_size': batch_size,
        'workers': workers,
    }


def _plain(loaded, _weights, data, spec, images):
    import torch
    from torch.utils.data import DataLoader

    from centernet.coco import to_results
    from centernet.detection import Heads, decode, merge, postprocess

    ids = data.image_ids[:images]
    files = _Files([data.file(image_id) for image_id in ids], spec)
    loader = DataLoader(files, batch_size=1, num_workers=1, collate_fn=_only)
    results = []
    start = time.perf_counter()
    with torch.no_grad():
        for image_id, (planes, geometry) in zip(ids, loader):
            heads = loaded.model(planes)
            raw = decode(Heads(heads['hm'], heads['wh'], heads['reg']))
            results += to_results(image_id, merge(postprocess(raw, [geometry])), data.categories)
    seconds = time.perf_counter() - start
    return {'images_per_second': len(ids) / seconds, 'batch_size': 1, 'workers': 1}


class _Files:
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


def _only(items):
    return items[0]


def inputs(network, folder):
    """(weights, data set) of a network; the sample for dla_tiny, fresh weights and generated photographs for
    the other."""
    from centernet.sample import SAMPLE_WEIGHTS

    if network == 'dla_tiny':
        return SAMPLE_WEIGHTS, os.path.join(folder, 'sample')
    return os.path.join(folder, network + '.pth'), os.path.join(folder, network)


def prepare(network, images, folder):
    """Write what :func:`inputs` names."""
    if network == 'dla_tiny':
        from centernet.sample import sample_folder

        sample_folder(folder)
        return
    import cv2
    import numpy as np
    import torch

    from centernet.models import create_model

    torch.manual_seed(0)
    random = np.random.RandomState(0)
    weights, root = inputs(network, folder)
    torch.save(
        {'arch': network, 'state_dict': create_model(network, {'hm': 80, 'wh': 2, 'reg': 2}).state_dict()},
        weights,
    )
    os.makedirs(os.path.join(root, 'annotations'))
    os.makedirs(os.path.join(root, 'val2017'))
    entries = []
    for index in range(images):
        width, height = ((640, 480), (480, 640), (640, 427))[index % 3]
        coarse = random.randint(0, 256, (height // 16, width // 16, 3)).astype(np.uint8)
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        picture = cv2.add(picture, random.randint(0, 24, picture.shape).astype(np.uint8))
        name = f'{index + 1:012d}.jpg'
        if not cv2.imwrite(os.path.join(root, 'val2017', name), picture):
            raise OSError(f'cannot write {name}')
        entries.append({'id': index + 1, 'file_name': name, 'width': width, 'height': height})
    boxes = [
        {
            'id': entry['id'],
            'image_id': entry['id'],
            'category_id': 1 + entry['id'] % 80,
            'bbox': [10, 10, 100, 100],
            'area': 10000,
            'iscrowd': 0,
        }
        for entry in entries
    ]
    document = {
        'images': entries,
        'annotations': boxes,
        'categories': [{'id': index + 1, 'name': f'class {index + 1}'} for index in range(80)],
    }
    with open(os.path.join(root, 'annotations', 'instances_val2017.json'), 'w', encoding='utf-8') as file:
        json.dump(document, file)


def _spec(network, loaded):
    from centernet.detection import InputSpec

    side = NETWORKS[network][1]
    height, width = (side, side) if side else loaded.checkpoint.meta['input_size']
    return InputSpec(height=height, width=width)


def _environment():
    return dict(
        os.environ, PYTHONPATH=os.pathsep.join([os.path.join(ROOT, 'src'), os.path.join(ROOT, 'benchmarks')])
    )


_PREPARE = 'import sys; import eval; eval.prepare(sys.argv[1], int(sys.argv[2]), sys.argv[3])'

if __name__ == '__main__':
    main()
