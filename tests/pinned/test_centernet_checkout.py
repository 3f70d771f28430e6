"""CenterNet's own test.py, patched, against eval-pth: same weights, same pictures, same detections.

Upstream's code is not in this repository: CENTERNET_CHECKOUT names a checkout of it, which is copied.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest
from support.random_weights import save_checkpoint
from support.stacks import ROOT
from support.torch_files import needs_patch, needs_torch_100

from centernet.sample import sample_folder

CHECKOUT = os.environ.get('CENTERNET_CHECKOUT')
#: COCO's category ids
CATEGORIES = [number for number in range(1, 91) if number not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
#: one unit of the last digit: both round to two decimals
STEP = 0.0101

pytestmark = [
    needs_torch_100,
    needs_patch,
    pytest.mark.skipif(not CHECKOUT, reason='needs CENTERNET_CHECKOUT, a checkout of CenterNet'),
]


def run(*command, **options):
    environment = dict(os.environ, PYTHONPATH=os.path.join(ROOT, 'src'), MPLBACKEND='agg')
    done = subprocess.run(
        [str(word) for word in command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        **options,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """8 pictures of the sample with COCO's 80 categories, which CenterNet's test.py expects."""
    folder = tmp_path_factory.mktemp('data')
    path = os.path.join(sample_folder(str(folder), 8), 'annotations', 'instances_val2017.json')
    with open(path) as file:
        content = json.load(file)
    place = {category['id']: number for number, category in enumerate(content['categories'])}
    for annotation in content['annotations']:
        annotation['category_id'] = CATEGORIES[place[annotation['category_id']] * 7]
    content['categories'] = [
        {'id': number, 'name': str(number), 'supercategory': ''} for number in CATEGORIES
    ]
    with open(path, 'w') as file:
        json.dump(content, file)
    return os.path.dirname(os.path.dirname(path))


@pytest.fixture(scope='module')
def checkout(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp('centernet') / 'checkout'
    shutil.copytree(os.path.join(CHECKOUT, 'src'), str(folder / 'src'))
    (folder / 'data').mkdir()
    (folder / 'data' / 'coco').symlink_to(data)
    run(os.path.join(ROOT, 'patches', 'centernet', 'apply.sh'), folder)
    return folder


def by_image_and_class(path):
    with open(str(path)) as file:
        found = {}
        for detection in json.load(file):
            found.setdefault((detection['image_id'], detection['category_id']), []).append(
                (detection['score'], *detection['bbox'])
            )
    return found


@pytest.mark.parametrize(
    'arch, theirs, ours',
    [
        ('res_18', [], []),
        ('dla_34', [], []),
        ('resdcn_18', [], []),
        ('dla_34', ['--keep_res', '--flip_test'], ['--keep-res', '--flip-test']),
    ],
)
def test_it_detects_what_eval_pth_detects(checkout, data, tmp_path, arch, theirs, ours):
    weights = save_checkpoint(tmp_path / 'weights.pth', arch, [('hm', 80), ('wh', 2), ('reg', 2)], size=512)
    run(
        sys.executable,
        'test.py',
        'ctdet',
        '--arch',
        arch,
        '--gpus',
        '-1',
        '--load_model',
        weights,
        *theirs,
        cwd=str(checkout / 'src'),
    )
    run(
        sys.executable,
        '-m',
        'centernet',
        'eval-pth',
        '--weights',
        weights,
        '--data',
        data,
        '--device',
        'cpu',
        '--no-progress',
        '--output',
        tmp_path / 'out',
        *ours,
    )
    one = by_image_and_class(checkout / 'exp' / 'ctdet' / 'default' / 'results.json')
    other = by_image_and_class(tmp_path / 'out' / 'results.json')
    assert sum(len(found) for found in one.values()) == 800
    assert {key: len(found) for key, found in one.items()} == {
        key: len(found) for key, found in other.items()
    }
    differences = [0, 0]
    for key, found in one.items():
        left = list(other[key])
        for score, *box in found:  # the twin is the nearest box
            twin = min(left, key=lambda candidate: max(abs(a - b) for a, b in zip(candidate[1:], box)))
            left.remove(twin)
            differences = [
                max(differences[0], abs(score - twin[0])),
                max([differences[1]] + [abs(a - b) for a, b in zip(box, twin[1:])]),
            ]
    print(arch, ' '.join(theirs), 'score', differences[0], 'box', differences[1])
    assert max(differences) < STEP
