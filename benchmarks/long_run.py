"""A run as long as COCO val2017: does memory stay constant, and does the speed?

    python benchmarks/long_run.py [--images 5000] [--short 500] [--folder FOLDER] [eval-pth's flags]

Draws as many pictures as val2017 has, of similar sizes, with the code of the built-in sample, and evaluates
them with the sample's checkpoint (dla_tiny) in a process of its own, ``centernet eval-pth``. Its memory,
including loader processes, is read every half second, as proportional set size, so that shared pages count
once. Prints the peak, the slope over the second half of the run, and the images per second, next to those of
a short run over the first of the same pictures.

The sizes approximate val2017: its common sizes with their approximate shares, and random ones up to 640
pixels. They agree with published statistics of COCO's training set: 90 % of the images have 167,500 to
355,840 pixels, and a height of 0.6 to 1.5 times their width.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, Dict, List, Tuple

from centernet.sample import SAMPLE_WEIGHTS
from centernet.sample.dataset import write_folder

#: (width, height) -> images per hundred; the others have random sizes up to 640
SIZES = {
    (640, 480): 24,
    (640, 427): 17,
    (480, 640): 11,
    (640, 426): 7,
    (427, 640): 6,
    (500, 375): 5,
    (640, 428): 3,
    (640, 360): 3,
    (375, 500): 3,
    (426, 640): 3,
    (612, 612): 2,
    (500, 333): 2,
    (640, 640): 1,
}
INTERVAL_S = 0.5
#: shortest run with a meaningful slope: the first few hundred images allocate the memory that later ones
#: reuse
LONG_ENOUGH = 2000
MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog='Other flags are passed to eval-pth.'
    )
    parser.add_argument(
        '--images', type=int, default=5000, metavar='N', help='of the long run (default: 5000)'
    )
    parser.add_argument('--short', type=int, default=500, metavar='N', help='of the short run (default: 500)')
    parser.add_argument('--folder', metavar='FOLDER', help='keep the pictures here for the next run')
    parser.add_argument('--json', action='store_true', help='print JSON')
    arguments, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as temporary:
        data = draw(arguments.folder or os.path.join(temporary, 'data'), arguments.images)
        runs = [
            measure(data, images, os.path.join(temporary, f'out-{images}'), more)
            for images in (arguments.short, arguments.images)
        ]
    print(json.dumps(runs, indent=2) if arguments.json else table(runs))


def sizes(images: int) -> List[Tuple[int, int]]:
    """Return the sizes of the pictures, the same for every run."""
    draw_size = random.Random(2017)
    common = [size for size, share in SIZES.items() for _ in range(share)]
    found = []
    for _ in range(images):
        place = draw_size.randrange(100)
        longer, shorter = 640, draw_size.randrange(330, 560)
        turned = draw_size.random() < 0.3
        found.append(
            common[place] if place < len(common) else (shorter, longer) if turned else (longer, shorter)
        )
    return found


def draw(folder: str, images: int) -> str:
    """Write the data set if the folder has none; return the folder."""
    done = os.path.join(folder, 'drawn')
    if not os.path.exists(done) or int(open(done).read()) != images:
        start = time.time()
        write_folder(folder, images, sizes=sizes(images), suffix='.jpg')
        with open(done, 'w') as file:
            file.write(str(images))
        print(f'drew {images} pictures in {time.time() - start:.0f} s', file=sys.stderr)
    return folder


def measure(data: str, images: int, output: str, more: List[str]) -> Dict[str, Any]:
    """Run one evaluation and return its figures."""
    command = [
        sys.executable,
        '-m',
        'centernet',
        'eval-pth',
        '--data',
        data,
        '--weights',
        SAMPLE_WEIGHTS,
        '--limit',
        str(images),
        '--output',
        output,
        '--no-progress',
        '--json',
    ] + more
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    samples, journal = [], os.path.join(output, 'journal.jsonl')
    watch = threading.Thread(target=watch_memory, args=(process, journal, samples))
    watch.start()
    document = json.loads(process.communicate()[0].decode())
    watch.join()
    if process.returncode:
        raise SystemExit(f'eval-pth failed with exit status {process.returncode}')
    # Only while images are evaluated: reading the annotations and COCO's figures have peaks of their own.
    running = [(finished, mib) for finished, mib in samples if 0 < finished < images]
    second_half = [sample for sample in running if sample[0] > images / 2]
    return {
        'images': images,
        'AP': document['metrics']['AP'],
        'images_per_second': 1000 / document['timings']['mean_ms'],
        'loop_s': document['timings']['total_ms'] / 1000,
        'peak_mib': max(mib for _, mib in samples),
        'peak_in_loop_mib': max(mib for _, mib in running),
        'slope_mib_per_1000': 1000 * slope(second_half) if images >= LONG_ENOUGH else None,
        'batch_size': document['record']['loading']['batch_size'],
        'workers': document['record']['loading']['workers'],
        'samples': len(samples),
        'torch': document['record']['environment']['torch'],
    }


def table(runs: List[Dict[str, Any]]) -> str:
    """Format the measurements as a table."""
    lines = [
        '{:>7} {:>9} {:>9} {:>11} {:>15} {:>20} {:>7}'.format(
            'images', 'images/s', 'loop s', 'peak MiB', 'in the loop MiB', 'MiB per 1000 images', 'AP'
        )
    ]
    for run in runs:
        lines.append(
            '{images:>7} {images_per_second:>9.1f} {loop_s:>9.1f} {peak_mib:>11.0f} {peak_in_loop_mib:>15.0f}'
            ' {slope:>20} {AP:>7.4f}'.format(
                slope=(
                    '-' if run['slope_mib_per_1000'] is None else '{:.2f}'.format(run['slope_mib_per_1000'])
                ),
                **run,
            )
        )
    return '\n'.join(
        lines + ['torch {torch}, batches of {batch_size}, {workers} loader processes'.format(**runs[0])]
    )


def watch_memory(process: subprocess.Popen, journal: str, samples: List[Tuple[int, float]]) -> None:
    """Append (finished images in the journal, MiB) while the process runs."""
    finished, file = 0, None
    while process.poll() is None:
        if file is None and os.path.exists(journal):
            file = open(journal, 'rb')
        if file is not None:
            finished += file.read().count(b'\n')
        memory = sum(map(_memory, [process.pid] + _children(process.pid)))
        if memory:
            samples.append((max(0, finished - 1), memory / MIB))
        time.sleep(INTERVAL_S)


def _children(pid):
    try:
        with open(f'/proc/{pid}/task/{pid}/children') as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def _memory(pid):
    """Return the proportional set size in bytes, 0 if the process has ended."""
    try:
        with open(f'/proc/{pid}/smaps_rollup') as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith('Pss:'))
    except (OSError, StopIteration):
        return 0


def slope(samples: List[Tuple[int, float]]) -> float:
    """Return MiB per image by least squares; 0 for fewer than three samples."""
    if len(samples) < 3:
        return 0.0
    xs, ys = zip(*samples)
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((value - x) ** 2 for value in xs)
    return sum((a - x) * (b - y) for a, b in samples) / spread if spread else 0.0


if __name__ == '__main__':
    main()
