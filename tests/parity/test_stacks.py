"""The pinned stack against the modern one: the same source, the same checkpoint, the same pictures.

Both interpreters are started from here. They are named by CENTERNET_MODERN_PYTHON and
CENTERNET_PINNED_PYTHON, or are those of the Makefile's environments.
"""

import glob
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from centernet.sample import sample_folder

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
#: the figures of the two stacks differ by at most this
AP_TOLERANCE = 0.001
#: and so do a detection and its twin, for all detections that score more than SCORE
SCORE, SCORE_TOLERANCE, IOU = 0.1, 0.002, 0.99
PROTOCOLS = {
    'fix_res': [],
    'keep_res, flip': ['--keep-res', '--flip-test'],
    'three scales': ['--test-scales', '0.75,1,1.25', '--limit', '60'],
}


def find_python(stack):
    """The interpreter of a stack (``modern`` or ``pinned``), or None."""
    named = os.environ.get(f'CENTERNET_{stack.upper()}_PYTHON')
    if named:
        return named
    if (sys.version_info < (3, 7)) == (stack == 'pinned'):
        return sys.executable
    found = glob.glob(
        os.path.join(ROOT, '.venv-pinned' if stack == 'pinned' else '.venv-3.*', 'bin', 'python')
    )
    return sorted(found)[-1] if found else None


PYTHONS = {stack: find_python(stack) for stack in ('modern', 'pinned')}
pytestmark = pytest.mark.skipif(
    None in PYTHONS.values(),
    reason=(
        f'needs both stacks, and found {PYTHONS}: make both environments '
        '(make venv; make venv PYTHON=python3.6), or name them by CENTERNET_*_PYTHON'
    ),
)


def run(python, *arguments):
    # one thread: two that wait for each other on a busy machine take minutes
    environment = dict(os.environ, PYTHONPATH=os.path.join(ROOT, 'src'), OMP_NUM_THREADS='1')
    done = subprocess.run(
        [python] + list(arguments),
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize('protocol', sorted(PROTOCOLS))
def test_the_figures_are_the_same(protocol, tmp_path):
    found = {}
    for stack, python in PYTHONS.items():
        document = run(
            python,
            '-m',
            'centernet',
            'eval-pth',
            '--json',
            '--no-progress',
            '--output',
            str(tmp_path / stack),
            *PROTOCOLS[protocol],
        )
        assert document['versions']['torch'].startswith('1.0.') == (stack == 'pinned')
        found[stack] = document['metrics']
    print(protocol, json.dumps(found, indent=1))
    assert found['modern']['AP'] > 0.3
    for name, value in found['modern'].items():
        assert abs(found['pinned'][name] - value) <= AP_TOLERANCE, name


def test_every_detection_has_its_twin(tmp_path):
    folder = sample_folder(str(tmp_path))
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'detect.py')
    modern, pinned = (run(PYTHONS[stack], script, folder) for stack in ('modern', 'pinned'))
    assert modern.keys() == pinned.keys()
    twins, score, overlap = 0, 0.0, 1.0
    for ours, others in ((modern, pinned), (pinned, modern)):
        for image_id, detections in ours.items():
            other = np.array(others[image_id])
            for detection in np.array(detections):
                if detection[4] <= SCORE:
                    continue
                candidates = other[
                    (other[:, 5] == detection[5]) & (np.abs(other[:, 4] - detection[4]) <= SCORE_TOLERANCE)
                ]
                best = iou(detection, candidates).argmax() if len(candidates) else None
                assert best is not None and iou(detection, candidates)[best] > IOU, (
                    image_id,
                    detection,
                    candidates,
                )
                twins += 1
                score = max(score, abs(candidates[best, 4] - detection[4]))
                overlap = min(overlap, iou(detection, candidates)[best])
    print(
        f'{twins} twins; the largest difference of a score is {score:.2g}, the smallest IoU 1 -'
        f' {1 - overlap:.2g}'
    )
    assert twins > 600


def iou(box, boxes):
    """IoU of a box [x1, y1, x2, y2, ...] with boxes [n, 4+]."""
    sides = np.minimum(box[2:4], boxes[:, 2:4]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.prod(np.clip(sides, 0, None), axis=1)
    areas = np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1) + np.prod(box[2:4] - box[:2])
    return shared / (areas - shared)
