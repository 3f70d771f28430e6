"""centernet detect: the boxes of eval-pth, files that others can read, and videos in order."""

import csv
import json
import os
import shutil

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from centernet.cli import main
from centernet.coco import read_image
from centernet.pictures.detect import Drawing
from centernet.pictures.video import VideoReader, VideoWriter
from centernet.sample import SAMPLE_WEIGHTS, sample_folder
from centernet.system.errors import DataError

SAMPLE = ['--weights', SAMPLE_WEIGHTS]


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """The sample's first eight pictures, two of them in a subfolder."""
    folder = tmp_path_factory.mktemp('photos')
    images = os.path.join(sample_folder(str(tmp_path_factory.mktemp('sample'))), 'val2017')
    (folder / 'more').mkdir()
    for number, name in enumerate(sorted(os.listdir(images))[:8]):
        shutil.copy(os.path.join(images, name), str(folder / 'more' if number > 5 else folder))
    return folder


def detect(output, *words):
    return main(['detect', *map(str, words), '--device', 'cpu', '--no-progress', '--output', str(output)])


def document_of(output):
    with open(os.path.join(str(output), 'detections.json'), encoding='utf-8') as file:
        return json.load(file)


def test_the_boxes_are_those_of_eval_pth(photos, tmp_path):
    words = ['eval-pth', '--limit', '8', '--no-progress', '--device', 'cpu']
    assert main([*words, '--output', str(tmp_path / 'eval')]) == 0
    with open(str(tmp_path / 'eval' / 'results.json')) as file:
        results = json.load(file)
    assert detect(tmp_path / 'out', photos, '--score', '0', *SAMPLE) == 0
    found = document_of(tmp_path / 'out')
    names = {entry['id']: os.path.basename(entry['file_name']) for entry in found['images']}
    with open(str(tmp_path / 'eval' / 'sample' / 'annotations' / 'instances_val2017.json')) as file:
        truth = json.load(file)
    sample_names = {entry['id']: entry['file_name'] for entry in truth['images']}
    numbers = {category['id']: number for number, category in enumerate(truth['categories'], start=1)}

    def key(name, category, entry):
        return name, category, tuple(entry['bbox']), entry['score']

    expected = sorted(key(sample_names[e['image_id']], numbers[e['category_id']], e) for e in results)
    assert sorted(key(names[e['image_id']], e['category_id'], e) for e in found['annotations']) == expected
    assert len(expected) == 800


def test_the_files(photos, tmp_path, capsys):
    assert detect(tmp_path, photos, *SAMPLE) == 0
    printed = capsys.readouterr().out
    coco = COCO(str(tmp_path / 'detections.json'))
    assert len(coco.imgs) == 8 and len(coco.anns) > 8
    assert f'{len(coco.anns)} objects on 8 pictures' in printed
    assert [category['name'] for category in coco.cats.values()] == [
        'circle',
        'rectangle',
        'triangle',
        'ring',
    ]
    scores = [annotation['score'] for annotation in coco.anns.values()]
    assert min(scores) >= 0.3
    for image in coco.imgs.values():
        picture = read_image(str(photos / image['file_name']))
        assert picture.shape[:2] == (image['height'], image['width'])
        drawn = read_image(str(tmp_path / 'pictures' / image['file_name']))
        assert drawn.shape[0] % picture.shape[0] == 0, 'enlarged in whole steps'
    with open(str(tmp_path / 'detections.csv'), newline='') as file:
        rows = list(csv.DictReader(file))
    assert [float(row['score']) for row in rows] == scores
    assert {row['class'] for row in rows} <= {'circle', 'rectangle', 'triangle', 'ring'}


def test_without_arguments_it_takes_the_sample(tmp_path, capsys):
    assert detect(tmp_path, '--save', 'none') == 0
    assert 'data: 200 pictures' in capsys.readouterr().out
    assert not (tmp_path / 'pictures').exists()


def test_classes_score_and_names(photos, tmp_path):
    (tmp_path / 'names').write_text('Kreis\nRechteck\nDreieck\nRing\n', encoding='utf-8')
    words = [photos, *SAMPLE, '--names', tmp_path / 'names', '--save', 'none']
    assert detect(tmp_path / 'out', *words, '--classes', 'Ring,kreis', '--score', '0.5') == 0
    found = document_of(tmp_path / 'out')
    assert {entry['category_id'] for entry in found['annotations']} == {1, 4}
    assert min(entry['score'] for entry in found['annotations']) >= 0.5
    assert found['categories'][1] == {'id': 2, 'name': 'Rechteck'}


@pytest.mark.parametrize(
    'words, text',
    [
        (['--classes', 'dog'], 'circle, rectangle, triangle, ring'),
        (['--names', 'short'], '1 names'),
        (['--names', 'missing'], 'missing'),
        (['--score', '2'], 'score'),
        (['--fps', '0'], 'fps'),
    ],
)
def test_mistakes(photos, tmp_path, capsys, monkeypatch, words, text):
    monkeypatch.chdir(str(tmp_path))
    (tmp_path / 'short').write_text('one\n')
    assert detect(tmp_path / 'out', photos, *SAMPLE, *words) == 2
    assert text in capsys.readouterr().err


def test_weights_alone_are_not_enough(tmp_path, capsys):
    assert detect(tmp_path, *SAMPLE) == 2
    assert 'no SOURCE' in capsys.readouterr().err


def test_a_broken_picture_is_named_and_left_out(photos, tmp_path, capsys):
    shutil.copytree(str(photos), str(tmp_path / 'in'))
    (tmp_path / 'in' / 'broken.jpg').write_bytes(b'not a picture')
    words = [tmp_path / 'in', *SAMPLE, '--save', 'none']
    assert detect(tmp_path / 'out', *words) == 1
    assert 'could not be read: broken.jpg' in capsys.readouterr().out
    assert len(document_of(tmp_path / 'out')['images']) == 8
    assert detect(tmp_path / 'out', *words, '--on-bad-image', 'skip') == 0
    assert detect(tmp_path / 'none', tmp_path / 'in' / 'broken.jpg', *SAMPLE) == 2


def test_an_interrupted_run_keeps_what_is_finished_and_is_resumed(photos, tmp_path, monkeypatch, capsys):
    """The resumed run gives what one in one go gives, as the options of now say."""
    draw, words = Drawing._picture, [photos, *SAMPLE, '--batch-size', '2', '--resume']

    def interrupt(self, image):
        if image.image_id == 4:
            raise KeyboardInterrupt
        draw(self, image)

    with monkeypatch.context() as patch:
        patch.setattr(Drawing, '_picture', interrupt)
        assert detect(tmp_path / 'out', *words) == 130
    assert '4 of 8 images are finished' in capsys.readouterr().err
    assert len(COCO(str(tmp_path / 'out' / 'detections.json')).imgs) == 4
    for output in (tmp_path / 'out', tmp_path / 'whole'):
        assert detect(output, *words, '--score', '0.5') == 0
    for name in ('detections.csv', *(f'pictures/{e["file_name"]}' for e in document_of(output)['images'])):
        assert (tmp_path / 'out' / name).read_bytes() == (output / name).read_bytes(), name


def test_it_leaves_other_files_alone_and_does_not_detect_on_its_own(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(str(tmp_path))
    shutil.copytree(str(photos), 'pictures')
    before = {path: path.read_bytes() for path in (tmp_path / 'pictures').rglob('*.png')}
    assert detect('.', 'pictures', *SAMPLE) == 2
    assert 'this run did not make it' in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / 'pictures').rglob('*.png')} == before
    for _ in range(2):
        assert detect('out', '.', *SAMPLE) == 0
        assert len(document_of('out')['images']) == 8


def write_video(path, frames, fps=10.0):
    writer = VideoWriter(str(path), fps)
    for frame in frames:
        writer.add(frame)
    writer.close()
    return str(path)


def plain_frames(count, size=(96, 128)):
    """Frames that say their number by their brightness."""
    return [np.full((*size, 3), 20 + 10 * number, np.uint8) for number in range(count)]


@pytest.mark.parametrize('suffix', ['.avi', '.mp4'])
def test_frames_come_in_order_one_at_a_time(tmp_path, suffix):
    path = write_video(tmp_path / f'clip{suffix}', plain_frames(12))
    reader = VideoReader(path)
    assert round(reader.fps) == 10
    found = [(number, picture.mean()) for number, picture in reader]
    assert [number for number, _ in found] == list(range(12))
    assert all(abs(mean - (20 + 10 * number)) < 4 for number, mean in found)
    half = VideoReader(path, fps=5)
    assert [number for number, _ in half] == [0, 2, 4, 6, 8, 10]


def test_a_video(photos, tmp_path):
    names = sorted(path.name for path in photos.glob('*.png'))[:4]
    pictures = [cv2.resize(cv2.imread(str(photos / name)), (128, 128)) for name in names]
    write_video(tmp_path / 'clip.avi', [picture for picture in pictures for _ in range(3)])
    words = [tmp_path / 'clip.avi', *SAMPLE, '--fps', '5']
    assert detect(tmp_path / 'out', *words) == 0
    found = document_of(tmp_path / 'out')
    assert [entry['frame_id'] for entry in found['images']] == [0, 2, 4, 6, 8, 10]
    assert found['videos'] == [{'id': 1, 'name': 'clip.avi', 'fps': 5.0}]
    assert found['annotations']
    drawn = tmp_path / 'out' / 'pictures' / 'clip.avi'
    reader = VideoReader(str(drawn))
    assert (round(reader.fps), len(list(reader))) == (5, 6)
    content = drawn.read_bytes()
    assert detect(tmp_path / 'out', *words, '--resume') == 0 and drawn.read_bytes() == content
    assert detect(tmp_path / 'frames', *words, '--save', 'pictures') == 0
    assert len(list((tmp_path / 'frames' / 'pictures' / 'clip.avi').glob('*.jpg'))) == 6


def test_a_video_that_is_cut_short_is_named_and_not_drawn(tmp_path, capsys):
    path = tmp_path / 'clip.avi'
    write_video(path, [np.random.RandomState(0).randint(0, 256, (96, 128, 3)).astype(np.uint8)] * 30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert detect(tmp_path / 'out', path, *SAMPLE) == 1
    assert 'clip.avi: the video' in capsys.readouterr().out
    assert 5 < len(document_of(tmp_path / 'out')['images']) < 25
    assert os.listdir(str(tmp_path / 'out' / 'pictures')) == []


def test_a_video_that_is_none(tmp_path, capsys):
    (tmp_path / 'clip.mp4').write_bytes(b'no video')
    with pytest.raises(DataError, match='cannot decode the video'):
        VideoReader(str(tmp_path / 'clip.mp4'))
    assert detect(tmp_path / 'out', tmp_path / 'clip.mp4', *SAMPLE) == 2
    assert 'clip.mp4' in capsys.readouterr().err
