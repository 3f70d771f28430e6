"""Time and memory of ``centernet report`` for a data set of COCO's size.

    python benchmarks/report.py [--images 5000] [--classes 80]

The results are made up: 7 objects and 100 detections per image, of about 20 classes. Memory is that of the
command and its processes together.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from typing import List, Tuple

from long_run import watch_memory

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, 'tests'))
from support.made_up import write_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', type=int, default=5000, metavar='N', help='images (default: 5000)')
    parser.add_argument('--classes', type=int, default=80, metavar='N', help='classes (default: 80)')
    parser.add_argument('--json', action='store_true', help='print JSON')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        run = write_run(
            pathlib.Path(temporary, 'data'),
            images=options.images,
            classes=options.classes,
            per_image=7.3,
            background=94,
            kinds=20,
        )
        output = os.path.join(temporary, 'report')
        start = time.perf_counter()
        command = [sys.executable, '-m', 'centernet', 'report', str(run), '--output', output]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        samples: List[Tuple[int, float]] = []
        watch = threading.Thread(target=watch_memory, args=(process, '', samples))
        watch.start()
        if process.wait():
            sys.exit('centernet report failed')
        seconds = time.perf_counter() - start
        watch.join()
        found = {
            'images': options.images,
            'classes': options.classes,
            'seconds': seconds,
            'peak_mib': max(mib for _, mib in samples),
            'page_mib': os.path.getsize(os.path.join(output, 'report.html')) / 2**20,
        }
    layout = '{images} images, {classes} classes: {seconds:.1f} s, {peak_mib:.0f} MiB; {page_mib:.1f} MiB'
    print(json.dumps(found, indent=2) if options.json else layout.format(**found))


if __name__ == '__main__':
    main()
