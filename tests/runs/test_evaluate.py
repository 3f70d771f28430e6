import json
import multiprocessing
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from support.painted import PaintNetwork, write_data
from support.runs import record
from support.runs import run as run_small

from centernet.coco import CocoData
from centernet.detection import COCO
from centernet.runs.evaluate import evaluate
from centernet.system.errors import DataError, Interrupted, OptionError
from centernet.system.versions import git_revision

SIDES = {'input_height': 128, 'input_width': 128}
KEEP = {'keep_res': True}


def run(data, folder, network=None, resume=False, **options):
    options = options if options.get('keep_res') else dict(SIDES, **options)
    return run_small(data, folder, network, resume, **dict({'batch_size': 1}, **options))


def near(first, second):
    """Return whether two lists of results are equal up to the rounding of their last digit."""
    values = [np.array([item['bbox'] + [item['score']] for item in results]) for results in (first, second)]
    names = [[(item['image_id'], item['category_id']) for item in results] for results in (first, second)]
    return names[0] == names[1] and np.abs(values[0] - values[1]).max() < 0.011


@pytest.mark.parametrize(
    'protocol',
    [
        {},
        KEEP,
        {'nms': True},
        {'test_scales': (0.5, 1.0)},
        {'flip_test': True},
        {'keep_res': True, 'flip_test': True, 'test_scales': (1.0, 2.0)},
    ],
    ids=str,
)
def test_what_is_painted_is_found(data, tmp_path, protocol):
    found = run(data, tmp_path / 'out', batch_size=4, **protocol)
    assert found.metrics.stats['AP50'] > 0.999
    assert found.metrics.stats['AP'] > 0.9
    assert set(found.metrics.per_class) == {'red', 'green'}
    assert found.exit_status == 0
    assert found.failed == {}


def test_results_are_in_the_order_of_the_data_set_however_they_were_batched(data, tmp_path):
    found = run(data, tmp_path / 'out', batch_size=4, keep_res=True)
    seen = []
    for result in found.detections:
        if result['image_id'] not in seen:
            seen.append(result['image_id'])
    assert seen == data.image_ids


@pytest.mark.parametrize('keep_res', [False, True])
@pytest.mark.parametrize('batch_size, workers', [(1, 2), (3, 0), (5, 1), (16, 2)])
def test_batches_and_workers_change_nothing(data, tmp_path, keep_res, batch_size, workers):
    one = run(data, tmp_path / 'one', keep_res=keep_res)
    many = run(data, tmp_path / 'many', keep_res=keep_res, batch_size=batch_size, workers=workers)
    assert near(one.detections, many.detections)
    assert one.metrics == many.metrics


def test_keep_res_puts_images_of_one_size_together(data, tmp_path):
    network = PaintNetwork()
    run(data, tmp_path / 'out', network, keep_res=True, batch_size=4)
    # sizes in the data: 7 times 64x48, 3 times 48x64, twice 80x64
    assert sorted(network.batches) == [2, 3, 3, 4]


def test_keep_res_trusts_the_files_more_than_the_annotations(tmp_path):
    folder = write_data(tmp_path / 'data')
    path = folder / 'annotations' / 'instances_val2017.json'
    document = json.loads(path.read_text())
    for image in document['images']:
        image['width'] = image['height'] = 50
    del document['images'][0]['width']
    path.write_text(json.dumps(document))
    network = PaintNetwork()
    found = run(CocoData.load(str(folder)), tmp_path / 'out', network, keep_res=True, batch_size=6)
    assert found.metrics.stats['AP50'] > 0.999
    assert sum(network.batches) == 12
    assert max(network.batches) > 1


def test_the_files_record_the_run(data, tmp_path):
    found = run(data, tmp_path / 'out', batch_size=5, workers=1, save_images=2, flip_test=True)
    document = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert document == json.loads(json.dumps(found.document))
    assert list(document) == [
        'metrics',
        'per_class',
        'images',
        'failed_images',
        'timings',
        'record',
        'sessions',
    ]
    assert document['metrics'] == found.metrics.stats
    assert document['images'] == 12
    record = document['record']
    assert record['protocol'] == {
        'keep_res': False,
        'input_height': 128,
        'input_width': 128,
        'normalization': {'name': 'coco', 'mean': list(COCO.mean), 'std': list(COCO.std)},
        'flip_test': True,
        'test_scales': [1.0],
        'nms': False,
        'max_detections': 100,
        'pad': 31,
    }
    assert record['network']['arch'] == 'paint'
    assert record['data']['annotations'] == data.annotations
    assert record['loading'] == {'batch_size': 5, 'workers': 1, 'on_bad_image': 'fail', 'save_images': 2}
    for name in ('centernet', 'python', 'torch', 'numpy', 'opencv', 'pycocotools'):
        assert record['environment'][name][0].isdigit()
    assert json.loads((tmp_path / 'out' / 'results.json').read_text()) == found.detections
    assert sorted(path.name for path in (tmp_path / 'out' / 'images').iterdir()) == [
        '100_000.png',
        '103_001.png',
    ]
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        'images',
        'journal.jsonl',
        'metrics.json',
        'results.json',
    ]


def test_figures_count_the_selected_images_only(data, tmp_path):
    # 127 is the tenth image; without a restriction to the two, the ten that are not evaluated would count as
    # missed.
    found = run(data, tmp_path / 'out', ids=(127, 103))
    assert found.document['images'] == 2
    assert found.metrics.stats['AP50'] > 0.999
    assert sorted({result['image_id'] for result in found.detections}) == [103, 127]
    limited = run(data, tmp_path / 'limited', ids=(127, 103), limit=1)
    assert {result['image_id'] for result in limited.detections} == {103}


def test_an_unknown_id_is_an_error(data, tmp_path):
    with pytest.raises(DataError, match='101'):
        run(data, tmp_path / 'out', ids=(100, 101))


@pytest.mark.parametrize(
    'wrong',
    [
        {'batch_size': 0},
        {'workers': -1},
        {'limit': 0},
        {'save_images': -1},
        {'test_scales': ()},
        {'test_scales': (1.0, -0.5)},
        {'test_scales': (float('nan'),)},
        {'on_bad_image': 'ignore'},
    ],
)
def test_invalid_options(data, tmp_path, wrong):
    with pytest.raises((OptionError, ValueError)):
        run(data, tmp_path / 'out', **wrong)


def test_another_number_of_classes_names_both(data, tmp_path):
    network = PaintNetwork(heads={'hm': 80, 'wh': 2, 'reg': 2})
    with pytest.raises(OptionError, match=r'80 classes.*instances_val2017.json has 2'):
        run(data, tmp_path / 'out', network)


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('policy, status', [('fail', 1), ('skip', 0)])
def test_bad_images_are_named_and_the_others_count(data_folder, tmp_path, workers, policy, status):
    pictures = data_folder / 'val2017'
    (pictures / '003.png').unlink()
    (pictures / '007.png').write_bytes(b'<!doctype html>')
    data = CocoData.load(str(data_folder))
    found = run(data, tmp_path / 'out', batch_size=4, workers=workers, on_bad_image=policy)
    assert sorted(found.failed) == [109, 121]
    assert '003.png' in found.failed[109]
    assert '007.png' in found.failed[121]
    assert found.exit_status == status
    assert found.metrics.stats['AP50'] > 0.999  # over the ten that were read
    document = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert document['images'] == 10
    assert sorted(document['failed_images']) == ['109', '121']


def test_a_bad_image_is_tried_again_on_resume(data_folder, tmp_path):
    bad = data_folder / 'val2017' / '003.png'
    good = bad.read_bytes()
    bad.write_bytes(good[:40])
    data = CocoData.load(str(data_folder))
    assert run(data, tmp_path / 'out', batch_size=4).exit_status == 1
    bad.write_bytes(good)
    network = PaintNetwork()
    found = run(data, tmp_path / 'out', network, batch_size=4, resume=True)
    assert network.batches == [1]
    assert (found.exit_status, found.document['images']) == (0, 12)
    assert found.detections == run(data, tmp_path / 'other', batch_size=4).detections


def test_no_image_can_be_read(data_folder, tmp_path):
    for path in (data_folder / 'val2017').iterdir():
        path.write_bytes(b'')
    with pytest.raises(DataError, match='12 images'):
        run(CocoData.load(str(data_folder)), tmp_path / 'out')


class Killer(PaintNetwork):
    """Kills a loader process, as the kernel does when memory runs out."""

    def __call__(self, images):
        heads = super().__call__(images)
        if len(self.batches) == 2:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
            time.sleep(0.5)
        return heads


def test_a_loader_process_that_dies_ends_the_run_with_its_journal(tmp_path):
    data = CocoData.load(str(write_data(tmp_path / 'data', count=200, files=5)))
    with pytest.raises(Interrupted, match=r'signal 9 .* \d+ of 200 images .*--resume'):
        run(data, tmp_path / 'out', Killer(), batch_size=2, workers=1)
    found = run(data, tmp_path / 'out', resume=True, batch_size=8)
    assert found.document['images'] == 200


def test_git_revision_is_of_this_checkout():
    revision = git_revision()
    checkout = os.path.join(os.path.dirname(__file__), os.pardir, os.pardir)
    if not os.path.exists(os.path.join(checkout, '.git')):
        pytest.skip('not a git checkout')
    head = subprocess.check_output(['git', '-C', checkout, 'rev-parse', 'HEAD']).decode().strip()
    assert revision in (head, head + '-dirty')


def test_there_is_no_bar_without_a_terminal(data, tmp_path, capsys):
    evaluate(PaintNetwork(), data, record(data), str(tmp_path / 'out'), progress=True)
    assert capsys.readouterr().err == ''
