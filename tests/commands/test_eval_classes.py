"""The sample's checkpoint on the first images of its data set, written as other tools write data sets: the
figures stay the same, or are those that pycocotools gives."""

import contextlib
import copy
import io
import json
import shutil

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from centernet.cli import main
from centernet.coco import STAT_NAMES
from centernet.sample import SAMPLE_WEIGHTS

COUNT = 40
#: of the first 40 images of the sample
AP = 0.7353
NAMES = {1: 'circle', 3: 'rectangle', 7: 'triangle', 90: 'ring'}
#: other ids, in another order
MOVED = {1: 4, 3: 2, 7: 3, 90: 1}


@pytest.fixture
def evaluate(tmp_path, capsys):
    """A function that evaluates the checkpoint; it returns (status, stdout, stderr)."""

    def run(*words, output=tmp_path / 'out', weights=SAMPLE_WEIGHTS):
        status = main(
            ['eval-pth', '--weights', str(weights), '--output', str(output), '--limit', str(COUNT)]
            + ['--device', 'cpu', '--threads', '1', '--workers', '0', '--no-progress']
            + [str(word) for word in words]
        )
        out, err = capsys.readouterr()
        assert 'Traceback' not in err
        return status, out, err

    return run


@pytest.fixture(scope='module')
def sample(tmp_path_factory):
    """The sample's first images, and the detections in them: (its content, folder, results)."""
    folder = tmp_path_factory.mktemp('sample')
    words = ['eval-pth', '--limit', str(COUNT), '--output', str(folder), '--device', 'cpu', '--no-progress']
    assert main(words) == 0
    content = json.loads((folder / 'sample' / 'annotations' / 'instances_val2017.json').read_text())
    content['images'] = content['images'][:COUNT]
    kept = {image['id'] for image in content['images']}
    content['annotations'] = [item for item in content['annotations'] if item['image_id'] in kept]
    return content, folder / 'sample' / 'val2017', json.loads((folder / 'results.json').read_text())


@pytest.fixture
def write(sample, tmp_path):
    """A function that changes a copy of the content and writes it as a data set; it returns the folder."""

    def run(change, name='annotations/instances_val2017.json'):
        content = json.loads(json.dumps(sample[0]))
        change(content)
        path = tmp_path / 'data' / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content))
        shutil.copytree(str(sample[1]), str(tmp_path / 'data' / 'images'))
        return tmp_path / 'data'

    return run


def move_ids(content):
    for item in content['annotations']:
        item['category_id'] = MOVED[item['category_id']]
    for item in content['categories']:
        item['id'] = MOVED[item['id']]


def figures(tmp_path):
    return json.loads((tmp_path / 'out' / 'metrics.json').read_text())


def pycocotools_on(path, results, **params):
    """The twelve figures of pycocotools used directly on an annotations file; None for its -1."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        evaluator = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), 'bbox')
        for name, value in params.items():
            setattr(evaluator.params, name, value)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [None if value == -1 else value for value in evaluator.stats.tolist()]


def said_of_classes(out):
    return [line for line in out.splitlines() if line.startswith('classes: ')]


def test_other_ids_names_and_order(evaluate, write, tmp_path):
    def change(content):
        move_ids(content)
        for item in content['categories']:
            item['name'] = item['name'].upper() + ' '
        content['categories'].append({'id': 0, 'name': 'objects', 'supercategory': 'none'})

    status, out, _ = evaluate('--data', write(change))
    assert status == 0
    assert ['by name' in line and 'objects' in line for line in said_of_classes(out)] == [True]
    document = figures(tmp_path)
    assert document['metrics']['AP'] == pytest.approx(AP, abs=1e-3)
    assert [number for number, _ in document['record']['data']['channels']] == [4, 2, 3, 1]
    assert set(document['per_class']) == {'CIRCLE ', 'RECTANGLE ', 'TRIANGLE ', 'RING '}


def test_the_usual_order_needs_no_line(evaluate, write, tmp_path):
    status, out, _ = evaluate('--data', write(lambda content: None))
    assert status == 0 and said_of_classes(out) == []
    assert figures(tmp_path)['metrics']['AP'] == pytest.approx(AP, abs=1e-3)


def test_roboflows_layout_and_names_of_another_machine(evaluate, write, tmp_path, sample):
    def change(content):
        for item in content['images']:
            item['id'] = float(item['id'])
            item['file_name'] = 'C:\\pets\\images\\' + item['file_name']
        for item in content['annotations']:
            item['image_id'] = float(item['image_id'])
        for item in content['categories']:
            item.update(name='x' + item['name'], supercategory='things')
        content['categories'].append({'id': 0, 'name': 'things', 'supercategory': 'none'})

    status, out, _ = evaluate('--data', write(change, '_annotations.coco.json'))
    assert status == 0
    assert 'images: 40 of 40' in out
    assert ['order of the ids' in line and 'things' in line for line in said_of_classes(out)] == [True]
    assert figures(tmp_path)['metrics']['AP'] == pytest.approx(AP, abs=1e-3)
    results = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert results == sample[2]
    assert {type(item['image_id']) for item in results} == {int}


def test_channels_without_a_category_are_pycocotools_cat_ids(evaluate, write, tmp_path, sample):
    root = write(lambda content: None)
    status, out, _ = evaluate('--data', root, '--categories', '1,rectangle,-,RING')
    assert status == 0
    assert 'left out: triangle' in out
    expected = pycocotools_on(root / 'annotations' / 'instances_val2017.json', sample[2], catIds=[1, 3, 90])
    document = figures(tmp_path)
    assert [document['metrics'][name] for name in STAT_NAMES] == expected
    assert set(document['per_class']) == {'circle', 'rectangle', 'ring'}
    assert document['record']['data']['channels'][2] is None
    results = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert results == [item for item in sample[2] if item['category_id'] != 7]


def test_some_of_the_classes(evaluate, write, tmp_path, sample):
    """Fewer categories than channels: by name."""

    def change(content):
        content['categories'] = [item for item in content['categories'] if item['id'] in (3, 90)]
        content['annotations'] = [item for item in content['annotations'] if item['category_id'] in (3, 90)]

    root = write(change)
    status, out, _ = evaluate('--data', root, '--save-images', '1')
    assert status == 0
    assert ['by name' in line and '2 of 4' in line for line in said_of_classes(out)] == [True]
    kept = [item for item in sample[2] if item['category_id'] in (3, 90)]
    expected = pycocotools_on(root / 'annotations' / 'instances_val2017.json', kept)
    assert [figures(tmp_path)['metrics'][name] for name in STAT_NAMES] == expected
    assert len(list((tmp_path / 'out' / 'images').iterdir())) == 1


def test_annotations_that_do_not_count(evaluate, write, tmp_path, sample):
    def change(content):
        content['annotations'][3]['category_id'] = 8
        content['annotations'][9]['category_id'] = 8
        content['annotations'][5]['image_id'] = 1

    root = write(change)
    status, out, _ = evaluate('--data', root)
    assert status == 0
    assert 'annotations ignored: 2,' in out and 'annotations ignored: 1,' in out
    expected = pycocotools_on(root / 'annotations' / 'instances_val2017.json', sample[2])
    assert [figures(tmp_path)['metrics'][name] for name in STAT_NAMES] == expected


@pytest.mark.parametrize('words', [(), ('--json',)])
def test_no_annotations(evaluate, write, tmp_path, sample, words):
    status, out, err = evaluate(
        '--data', write(lambda content: content.pop('annotations')), '--save-images', '2', *words
    )
    assert status == 0
    text = err if words else out
    assert text.count('no metrics: ') == 1 and 'n/a' not in text
    document = figures(tmp_path)
    assert set(document['metrics']) == set(STAT_NAMES) and set(document['metrics'].values()) == {None}
    assert json.loads((tmp_path / 'out' / 'results.json').read_text()) == sample[2]
    assert len(list((tmp_path / 'out' / 'images').iterdir())) == 2


def test_another_mapping_is_another_run(evaluate, write):
    root = write(lambda content: None)
    assert evaluate('--data', root)[0] == 0
    assert evaluate('--data', root, '--resume')[0] == 0
    status, _, err = evaluate('--data', root, '--resume', '--categories=ring,3,7,1')
    assert status == 2
    assert 'data.channels was [[1, "circle"], ' in err and 'is now [[90, "ring"], ' in err


def test_what_cannot_be_matched_is_an_error_that_shows_how(evaluate, write, tmp_path):
    def change(content):
        content['categories'][0]['name'] = 'disc'
        content['categories'].append({'id': 100, 'name': 'star'})

    root = write(change)
    status, _, err = evaluate('--data', root)
    assert status == 2
    message = err.splitlines()[-1]
    assert (
        'not classes of the network: disc' in message and '--categories=-,rectangle,triangle,ring' in message
    )
    (tmp_path / 'list.txt').write_text('disc\nrectangle\n\ntriangle\nring\n')
    listed = ('--categories', f'@{tmp_path / "list.txt"}')
    status, _, err = evaluate('--data', root, *listed)
    assert status == 2 and 'is empty' in err
    (tmp_path / 'list.txt').write_text('disc\nrectangle\ntriangle\nring\n')
    status, out, _ = evaluate('--data', root, *listed)
    assert status == 0 and 'left out: star' in out
    assert figures(tmp_path)['metrics']['AP'] == pytest.approx(AP, abs=1e-3)
