"""What ``centernet verify`` measures figures against: the annotations where the classes are the network's,
else the PyTorch model's own detections."""

import json
import shutil

import pytest

from centernet.cli import main
from centernet.exporting.exporter import export
from centernet.networks.checkpoint import load_model
from centernet.sample import SAMPLE_WEIGHTS, sample_folder
from centernet.verification.metrics import ANNOTATIONS, OWN_DETECTIONS


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """The sample's checkpoint as an ONNX file, and some of its pictures: (path, folder)."""
    folder = tmp_path_factory.mktemp('files')
    paths = export(load_model(SAMPLE_WEIGHTS), str(folder), 'model', ('onnx',), size=(128, 128))
    return paths[0], sample_folder(str(folder), 6)


@pytest.fixture
def verify(files, tmp_path, capsys):
    """A function: change the annotations, verify -> (status, stdout, stderr, stage metrics)."""

    def run(change, *words):
        data = tmp_path / 'data'
        shutil.copytree(files[1], str(data))
        path = data / 'annotations' / 'instances_val2017.json'
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        status = main(
            ['verify', files[0], '--weights', SAMPLE_WEIGHTS, '--data', str(data), '--compare-images', '1']
            + ['--output', str(tmp_path / 'out'), '--device', 'cpu', '--threads', '1', '--workers', '0']
            + ['--no-progress', *words]
        )
        out, err = capsys.readouterr()
        if status == 2:
            return status, out, err, None
        document = json.loads((tmp_path / 'out' / 'model_onnx' / 'verification.json').read_text())
        return status, out, err, document['stages']['metrics']

    return run


def rename(**names):
    def change(content):
        for item in content['categories']:
            item['name'] = names.get(item['name'], item['name'])

    return change


def move_ids(content):
    moved = {1: 4, 3: 2, 7: 3, 90: 1}
    for item in content['annotations']:
        item['category_id'] = moved[item['category_id']]
    for item in content['categories']:
        item['id'] = moved[item['id']]


def test_annotations_of_other_ids_count(verify):
    status, out, _, stage = verify(move_ids)
    assert status == 0
    assert stage['ground_truth'] == ANNOTATIONS
    assert 0.5 < stage['figures']['AP']['reference'] < 0.95
    assert 'by name' in out


@pytest.mark.parametrize(
    'change, said',
    [
        (rename(circle='ring', ring='circle', triangle='star'), 'not classes of the network: star'),
        (lambda content: content['annotations'].clear(), ''),
        (lambda content: content.pop('annotations'), ''),
    ],
    ids=['other classes', 'no annotations', 'image_info'],
)
def test_without_annotations_that_count_its_own_detections_do(verify, change, said):
    status, out, _, stage = verify(change)
    assert status == 0
    assert stage['outcome'] == 'passed' and stage['ground_truth'] == OWN_DETECTIONS
    assert stage['figures']['AP']['reference'] > 0.99 and stage['figures']['AP']['model'] > 0.99
    assert said in out and ('do not count' in out) == bool(said)
    assert bool(said) != (stage['note'] == 'the images have no annotations')


def test_wrong_categories_are_an_error(verify):
    status, _, err, _ = verify(lambda content: None, '--categories', 'circle,ring')
    assert status == 2
    assert 'each of the 4 channels, not 2' in err
    assert 'Traceback' not in err
