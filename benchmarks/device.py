"""Inputs out and outputs back: how fast, and does memory stay constant?

    python benchmarks/device.py [--images 5000] [--short 500] [--folder FOLDER]

Draws pictures like those of the built-in sample, writes them with ``centernet dump-inputs``, runs the
sample's network on the files in a process of its own, which writes what ais_bench would write, and judges
these with ``centernet eval-outputs``. Prints images per second of both commands, and the peak memory while
images are written or evaluated (before COCO's figures are computed), next to those of a short run over the
first of the same pictures.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, Dict, List, Tuple

from long_run import slope, watch_memory

from centernet.sample import SAMPLE_WEIGHTS
from centernet.sample.dataset import write_folder

DEVICE = """
import os, sys
import numpy as np
from centernet.networks.runtimes import open_network
inputs, outputs, weights = sys.argv[1:]
network = open_network(weights, 'cpu')
os.makedirs(outputs)
names = sorted(os.listdir(inputs))
for start in range(0, len(names), 16):
    chosen = names[start : start + 16]
    images = np.stack([np.fromfile(os.path.join(inputs, name), np.float32) for name in chosen])
    found = network.outputs(images.reshape(len(chosen), 3, 128, 128))
    for place, name in enumerate(chosen):
        for number, head in enumerate(('hm', 'wh', 'reg')):
            path = os.path.join(outputs, '{}_{}.bin'.format(name[:-4], number))
            found[head][place].numpy().tofile(path)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', type=int, default=5000, metavar='N', help='default: 5000')
    parser.add_argument('--short', type=int, default=500, metavar='N', help='default: 500')
    parser.add_argument('--folder', metavar='FOLDER', help='keep the pictures here for the next run')
    parser.add_argument('--json', action='store_true', help='print JSON')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data = arguments.folder or os.path.join(temporary, 'data')
        if not os.path.exists(data):
            write_folder(data, arguments.images)
        runs = [
            measure(data, images, os.path.join(temporary, str(images)))
            for images in (arguments.short, arguments.images)
        ]
    if arguments.json:
        print(json.dumps(runs, indent=2))
        return
    row = '{:>7} {:<13} {:>9} {:>12} {:>9} {:>13} {:>7}'
    print(row.format('images', 'command', 'images/s', 'in the loop', 'peak MiB', 'MiB per 1000', 'AP'))
    for run in runs:
        for name in ('dump-inputs', 'eval-outputs'):
            found, loop = run[name], ['', '']
            if name == 'eval-outputs':
                loop = [f'{found["in_the_loop"]:.1f}', f'{found["slope_mib_per_1000"]:.1f}']
            speed, peak = f'{found["images_per_second"]:.1f}', f'{found["peak_mib"]:.0f}'
            print(row.format(run['images'], name, speed, loop[0], peak, loop[1], f'{run["AP"]:.4f}'))


def measure(data: str, images: int, folder: str) -> Dict[str, Any]:
    """Run both commands over the first pictures and return their figures."""
    dump, outputs, judged = (os.path.join(folder, name) for name in ('dump', 'outputs', 'judged'))
    shared = ['--data', data, '--weights', SAMPLE_WEIGHTS, '--no-progress', '--device', 'cpu']
    out = command(['dump-inputs', *shared, '--limit', str(images), '--output', dump], images)
    words = [os.path.join(dump, 'inputs'), outputs, SAMPLE_WEIGHTS]
    subprocess.run([sys.executable, '-c', DEVICE, *words], check=True)
    words = [outputs, '--manifest', dump, *shared, '--no-metrics', '--output', judged]
    back = command(['eval-outputs', *words], images, os.path.join(judged, 'journal.jsonl'))
    with open(os.path.join(judged, 'metrics.json'), encoding='utf-8') as file:
        document = json.load(file)
    return {
        'images': images,
        'AP': document['metrics']['AP'],
        'dump-inputs': out,
        'eval-outputs': dict(back, in_the_loop=1000 / document['timings']['mean_ms']),
    }


def command(words: List[str], images: int, journal: str = '') -> Dict[str, float]:
    """Run a command; images per second, all of it included, and peak memory up to the last image."""
    start = time.time()
    process = subprocess.Popen(
        [sys.executable, '-m', 'centernet', *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    samples: List[Tuple[int, float]] = []
    watch = threading.Thread(target=watch_memory, args=(process, journal, samples))
    watch.start()
    if process.wait():
        raise SystemExit(f'centernet {words[0]} failed')
    watch.join()
    seconds = time.time() - start
    running = [(finished, mib) for finished, mib in samples if finished < images]
    return {
        'images_per_second': images / seconds,
        'seconds': seconds,
        'peak_mib': max(mib for _, mib in running),
        'slope_mib_per_1000': 1000 * slope([sample for sample in running if sample[0] > images / 4]),
    }


if __name__ == '__main__':
    main()
