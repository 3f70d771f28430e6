"""Shards: images per second with several workers, and what it takes to merge the journals of many images.

    python benchmarks/scale.py [--workers 1 2 4] [--images 5000 50000 500000]

First the built-in sample is evaluated at 512 x 512 by so many processes at once, each a shard with one
thread. Then journals are made up, with COCO's 7.3 objects and CenterNet's 100 detections per image, in 8
shards, and merged in a process of its own. Memory is that of the command and its processes together, as
proportional set size. 500,000 images need 10 GB in FOLDER (default: a temporary one).
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import types
from typing import Any, Dict, Iterator, List, Tuple

import attr
import numpy as np
from long_run import watch_memory

from centernet.coco import COCO_CLASSES
from centernet.options.fields import to_json
from centernet.options.selection import Selection
from centernet.runs.journal import JOURNAL_NAME, VERSION
from centernet.system.files import sha256
from centernet.system.shards import Shard

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, 'tests'))
from support.made_up import record_of

SHARDS = 8
WIDTH, HEIGHT = 640, 480
OBJECTS, DETECTIONS, CLASSES_OF_AN_IMAGE = 7.3, 100, 20
CHILD = """
import json, sys, time
from centernet.runs import merge, run, score
compute, seconds = score.compute_metrics, []
def timed(*words):
    start = time.perf_counter()
    found = compute(*words)
    seconds.append(time.perf_counter() - start)
    return found
score.compute_metrics = timed
start = time.perf_counter()
merge.merge(run.find_runs([sys.argv[1]])[''], sys.argv[2])
print(json.dumps([time.perf_counter() - start, seconds[0]]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--workers', type=int, nargs='*', default=[1, 2, 4], metavar='N', help='(default: 1 2 4)'
    )
    parser.add_argument(
        '--sample-images', type=int, default=200, metavar='N', help='evaluated by the workers (default: 200)'
    )
    parser.add_argument(
        '--images', type=int, nargs='*', default=[5000, 50000, 500000], metavar='N', help='of the merges'
    )
    parser.add_argument('--folder', metavar='FOLDER', help='for the journals')
    parser.add_argument('--json', action='store_true', help='print JSON')
    options = parser.parse_args()
    found: Dict[str, List[Dict[str, Any]]] = {'workers': [], 'merge': []}
    for workers in options.workers:
        found['workers'].append(evaluate(workers, options.sample_images))
    for images in options.images:
        with work_folder(options.folder) as folder:
            found['merge'].append(merge(folder, images))
    print(json.dumps(found, indent=2) if options.json else table(found))


@contextlib.contextmanager
def work_folder(root: Any) -> Iterator[str]:
    folder = tempfile.mkdtemp(dir=root)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def evaluate(workers: int, images: int) -> Dict[str, Any]:
    """Evaluate the sample by several processes at once."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, '-m', 'centernet', 'eval-pth', '--limit', str(images), '--device', 'cpu']
        command += ['--input-height', '512', '--input-width', '512', '--threads', '1', '--workers', '0']
        command += ['--no-progress', '--output', folder, '--shard']
        shards = [Shard(index + 1, workers) for index in range(workers)]
        environment = dict(os.environ, OMP_NUM_THREADS='1')
        processes = [
            subprocess.Popen(
                [*command, str(shard)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            for shard in shards
        ]
        if sum(process.wait() for process in processes):
            sys.exit('centernet eval-pth failed')
        slowest = 0.0
        for shard in shards:
            with open(os.path.join(folder, shard.folder, 'metrics.json'), encoding='utf-8') as file:
                slowest = max(slowest, json.load(file)['timings']['total_ms'] / 1000)
    return {'workers': workers, 'images_per_second': images / slowest}


def merge(folder: str, images: int) -> Dict[str, Any]:
    """Merge made-up journals."""
    write_shards(folder, images)
    command = [sys.executable, '-c', CHILD, os.path.join(folder, 'shards'), os.path.join(folder, 'merged')]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    samples: List[Tuple[int, float]] = []
    watch = threading.Thread(target=watch_memory, args=(process, '', samples))
    watch.start()
    out, _ = process.communicate()
    watch.join()
    if process.returncode:
        sys.exit('the merge failed')
    seconds, metrics = json.loads(out.decode())
    return {
        'images': images,
        'read_s': seconds - metrics,
        'metrics_s': metrics,
        'peak_mib': max(mib for _, mib in samples),
    }


def write_shards(folder: str, images: int) -> None:
    """Write an annotations file and the journals of all shards."""
    random = np.random.RandomState(0)
    # about as unequal as COCO's: three tenths are of the first class, a person
    share = 1 / np.arange(1, len(COCO_CLASSES) + 1)
    share[0] = 3 / 7 * share[1:].sum()
    share /= share.sum()
    annotations = os.path.join(folder, 'annotations.json')
    categories = [{'id': number, 'name': name} for number, name in enumerate(COCO_CLASSES, start=1)]
    files, detections = [], []
    for index in range(SHARDS):
        shard = Shard(index + 1, SHARDS)
        os.makedirs(os.path.join(folder, 'shards', shard.folder))
        files.append(open(os.path.join(folder, 'shards', shard.folder, JOURNAL_NAME), 'wb'))
    with open(annotations, 'w', encoding='utf-8') as file:
        file.write('{"images":[')
        entry = '{{"id":{0},"file_name":"{0:012d}.jpg","width":%d,"height":%d}}' % (WIDTH, HEIGHT)
        for image in range(1, images + 1):
            file.write((',' if image > 1 else '') + entry.format(image))
        file.write('],"categories":' + json.dumps(categories) + ',"annotations":[')
        number = 0
        for image in range(1, images + 1):
            truth, found = made_up_image(random, share)
            for row in truth:
                number += 1
                box = [round(value, 2) for value in row[1:5]]
                text = {
                    'id': number,
                    'image_id': image,
                    'category_id': int(row[0]),
                    'bbox': box,
                    'iscrowd': 0,
                }
                file.write((',' if number > 1 else '') + json.dumps(dict(text, area=box[2] * box[3])))
            times = [1, 1, 20, 1, 1, 24, False]
            detections.append(
                {'image_id': image, 'size': [HEIGHT, WIDTH], 'times': times, 'detections': found}
            )
            if len(detections) == 1000 or image == images:
                for item in detections:  # journals begin with what needs the annotations' hash
                    files[(item['image_id'] - 1) % SHARDS].write(_line(item))
                detections = []
        file.write(']}')
    for index, lines in enumerate(files):
        lines.close()
        head(folder, Shard(index + 1, SHARDS), annotations)


def _line(entry: Dict[str, Any]) -> bytes:
    return json.dumps(entry, separators=(',', ':')).encode() + b'\n'


def made_up_image(random: np.random.RandomState, share: np.ndarray) -> Tuple[List, List]:
    """Objects as [category, x, y, width, height], and detections with a score behind, of two decimals."""
    count = random.poisson(OBJECTS)
    near = random.choice(len(share), CLASSES_OF_AN_IMAGE, p=share) + 1
    categories = np.concatenate(
        [near[random.randint(0, 5, count)], near[random.randint(0, len(near), DETECTIONS)]]
    )
    size = np.exp(random.uniform(2.5, 5, (len(categories), 2)))
    corner = random.uniform(0, 1, (len(categories), 2)) * ([WIDTH, HEIGHT] - size)
    boxes = np.concatenate([corner, size], axis=1)
    score = random.beta(1.2, 6, DETECTIONS)
    hits = min(count, DETECTIONS)
    boxes[count : count + hits] = boxes[:hits] + random.normal(0, 0.05, (hits, 4)) * np.tile(size[:hits], 2)
    categories[count : count + hits] = categories[:hits]
    score[:hits] = random.beta(4, 2, hits)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
    values = np.round(np.concatenate([boxes[count:], score[:, None]], axis=1), 2).tolist()
    truth = [[category, *box] for category, box in zip(categories[:count].tolist(), boxes[:count].tolist())]
    return truth, [[category, *row] for category, row in zip(categories[count:].tolist(), values)]


def head(folder: str, shard: Shard, annotations: str) -> None:
    """Put the first two lines in front of a journal."""
    path = os.path.join(folder, 'shards', shard.folder, JOURNAL_NAME)
    channels = list(enumerate(COCO_CLASSES, start=1))
    data = types.SimpleNamespace(
        annotations=annotations, images=folder, channels=channels, categories=channels
    )
    record = attr.evolve(record_of(data, sha256(annotations)), selection=Selection(shard=shard))
    with open(path + '.head', 'wb') as file:
        file.write(_line({'journal': VERSION, 'record': to_json(record)}))
        file.write(_line({'session': record.session()}))
        with open(path, 'rb') as rest:
            shutil.copyfileobj(rest, file, 1 << 20)
    os.replace(path + '.head', path)


def table(found: Dict[str, List[Dict[str, Any]]]) -> str:
    lines = []
    if found['workers']:
        lines.append('workers  images/s  times one')
        first = found['workers'][0]['images_per_second']
        for row in found['workers']:
            speed = row['images_per_second']
            lines.append(f'{row["workers"]:7} {speed:9.2f} {speed / first:10.2f}')
    if found['merge']:
        lines.append('\nmerge: images  read and write s  metrics s  peak MiB')
        for row in found['merge']:
            lines.append(
                f'{row["images"]:13} {row["read_s"]:17.1f} {row["metrics_s"]:10.1f} {row["peak_mib"]:9.0f}'
            )
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
