"""The pinned stack against the modern one: same source, same checkpoint, same pictures.

Both interpreters are started from here (support.stacks).
"""

import json
import os

import numpy as np
import pytest
from support.stacks import PYTHONS, needs_both_stacks, run

from centernet.sample import sample_folder

pytestmark = needs_both_stacks

#: largest difference of the figures
AP_TOLERANCE = 0.001
#: largest difference of a detection and its twin in score, and lowest IoU, for detections that score more
#: than SCORE
SCORE, SCORE_TOLERANCE, IOU = 0.1, 0.002, 0.99
PROTOCOLS = {
    'fix_res': [],
    'keep_res, flip': ['--keep-res', '--flip-test'],
    'three scales': ['--test-scales', '0.75,1,1.25', '--limit', '60'],
}


@pytest.mark.parametrize('protocol', sorted(PROTOCOLS))
def test_the_figures_are_the_same(protocol, tmp_path):
    found = {}
    for stack in PYTHONS:
        words = ['--json', '--no-progress', '--output', str(tmp_path / stack)] + PROTOCOLS[protocol]
        document = json.loads(run(stack, '-m', 'centernet', 'eval-pth', *words))
        assert document['record']['environment']['torch'].startswith('1.0.') == (stack == 'pinned')
        found[stack] = document['metrics']
    print(protocol, json.dumps(found, indent=1))
    assert found['modern']['AP'] > 0.3
    for name, value in found['modern'].items():
        assert abs(found['pinned'][name] - value) <= AP_TOLERANCE, name


def test_every_detection_has_its_twin(tmp_path):
    folder = sample_folder(str(tmp_path))
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'detect.py')
    modern, pinned = (json.loads(run(stack, script, folder)) for stack in ('modern', 'pinned'))
    assert modern.keys() == pinned.keys()
    twins, score, overlap = 0, 0.0, 1.0
    for ours, others in ((modern, pinned), (pinned, modern)):
        for image_id, detections in ours.items():
            other = np.array(others[image_id])
            for detection in np.array(detections):
                if detection[4] <= SCORE:
                    continue
                near = np.abs(other[:, 4] - detection[4]) <= SCORE_TOLERANCE
                candidates = other[(other[:, 5] == detection[5]) & near]
                overlaps = iou(detection, candidates)
                assert len(overlaps) and overlaps.max() > IOU, (image_id, detection, candidates)
                twins += 1
                score = max(score, abs(candidates[overlaps.argmax(), 4] - detection[4]))
                overlap = min(overlap, overlaps.max())
    print(f'{twins} twins; largest score difference {score:.2g}, lowest IoU 1 - {1 - overlap:.2g}')
    assert twins > 600


def iou(box, boxes):
    """Return the IoU of a box [x1, y1, x2, y2, ...] with boxes [n, 4+]."""
    sides = np.minimum(box[2:4], boxes[:, 2:4]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.prod(np.clip(sides, 0, None), axis=1)
    areas = np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1) + np.prod(box[2:4] - box[:2])
    return shared / (areas - shared)
