"""Run ``centernet fetch`` again and again, and kill -9 it each time after a random while. Prints a JSON list
of what was found wrong.

    kill_often.py <times> <seed> <longest life in seconds> <JSON: path -> SHA-256> <word of centernet
    fetch>...

Each run is a fork of this process, so that none spends its life importing modules. A file may be missing
after a kill; if it is there, it has to be whole. When all is there, a part of it is removed, so that every
run has something to do.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time

from centernet import cli
from centernet.commands import fetch  # noqa: F401
from centernet.fetch import fetching  # noqa: F401


def wrong(expected):
    found = []
    for path, digest in expected.items():
        if os.path.exists(path):
            with open(path, 'rb') as file:
                if hashlib.sha256(file.read()).hexdigest() != digest:
                    found.append(path)
    return found


def doing(expected):
    """What the process that was killed had been at."""
    left = [
        name
        for folder in {os.path.dirname(os.path.dirname(path)) for path in expected}
        for _, folders, names in os.walk(folder)
        for name in folders + names
    ]
    if any(name.endswith(('.pth.part', '.zip.part')) for name in left):
        return 'downloading'
    return 'unpacking' if any(name.endswith(('.zip', '.part')) for name in left) else 'something else'


def main(times, seed, longest, expected, words):
    points, killed, whole, problems = random.Random(seed), [], 0, []
    while len(killed) < times and not problems:
        child = os.fork()
        if child == 0:
            status = 70
            try:
                with open(os.devnull, 'w') as sys.stdout:
                    status = cli.main(['fetch', '--no-progress'] + words)
            finally:
                os._exit(status)
        time.sleep(points.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        problems += wrong(expected)
        if os.WIFSIGNALED(status):
            killed.append(doing(expected))
        elif os.WEXITSTATUS(status) == 0:
            whole += 1
            problems += [path for path in expected if not os.path.exists(path)]
            folder = points.choice(sorted({os.path.dirname(path) for path in expected}))
            shutil.rmtree(folder)
        else:
            problems.append(f'exit status {os.WEXITSTATUS(status)}')
    print(json.dumps({'wrong': problems, 'killed': killed, 'whole': whole}))


if __name__ == '__main__':
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), json.loads(sys.argv[4]), sys.argv[5:])
