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
from centernet.detect import run as detect_run
from centernet.detect.video import VideoReader, VideoWriter
from centernet.errors import DataError
from centernet.sample import sample_folder


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
    assert (
        main(
            [
                'eval-pth',
                '--limit',
                '8',
                '--no-progress',
                '--device',
                'cpu',
                '--output',
                str(tmp_path / 'eval'),
            ]
        )
        == 0
    )
    with open(str(tmp_path / 'eval' / 'results.json')) as file:
        results = json.load(file)
    assert detect(tmp_path / 'out', photos, '--score', '0', '--weights', sample_weights()) == 0
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


def sample_weights():
    from centernet.sample import SAMPLE_WEIGHTS

    return SAMPLE_WEIGHTS


def test_the_files(photos, tmp_path, capsys):
    assert detect(tmp_path, photos, '--weights', sample_weights()) == 0
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
    words = [photos, '--weights', sample_weights(), '--names', tmp_path / 'names', '--save', 'none']
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
    assert detect(tmp_path / 'out', photos, '--weights', sample_weights(), *words) == 2
    assert text in capsys.readouterr().err


def test_weights_alone_are_not_enough(tmp_path, capsys):
    assert detect(tmp_path, '--weights', sample_weights()) == 2
    assert 'no SOURCE' in capsys.readouterr().err


def test_a_broken_picture_is_named_and_left_out(photos, tmp_path, capsys):
    shutil.copytree(str(photos), str(tmp_path / 'in'))
    (tmp_path / 'in' / 'broken.jpg').write_bytes(b'not a picture')
    words = [tmp_path / 'in', '--weights', sample_weights(), '--save', 'none']
    assert detect(tmp_path / 'out', *words) == 1
    assert 'could not be read: broken.jpg' in capsys.readouterr().out
    assert len(document_of(tmp_path / 'out')['images']) == 8
    assert detect(tmp_path / 'out', *words, '--on-bad-image', 'skip') == 0
    assert detect(tmp_path / 'none', tmp_path / 'in' / 'broken.jpg', '--weights', sample_weights()) == 2


def test_what_is_finished_stays_when_it_is_interrupted(photos, tmp_path, monkeypatch, capsys):
    add, calls = detect_run.Document.add, []

    def interrupt(*arguments, **more):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return add(*arguments, **more)

    monkeypatch.setattr(detect_run.Document, 'add', interrupt)
    assert detect(tmp_path, photos, '--weights', sample_weights()) == 130
    assert '3 pictures are finished' in capsys.readouterr().err
    assert len(COCO(str(tmp_path / 'detections.json')).imgs) == 3


def write_video(path, frames, fps=10.0):
    writer = VideoWriter(str(path), fps)
    for frame in frames:
        writer.add(frame)
    return writer.close()


def plain_frames(count, size=(96, 128)):
    """Frames that say their number by their brightness."""
    return [np.full((*size, 3), 20 + 10 * number, np.uint8) for number in range(count)]


@pytest.mark.parametrize('suffix', ['.avi', '.mp4'])
def test_frames_come_in_order_one_at_a_time(tmp_path, suffix):
    path = write_video(tmp_path / f'clip{suffix}', plain_frames(12))
    reader = VideoReader(path)
    assert (round(reader.fps), reader.count) == (10, 12)
    found = [(frame.number, frame.picture.mean()) for frame in reader]
    assert [number for number, _ in found] == list(range(12))
    assert all(abs(mean - (20 + 10 * number)) < 4 for number, mean in found)
    half = VideoReader(path, fps=5)
    assert [frame.number for frame in half] == [0, 2, 4, 6, 8, 10]
    assert half.count == 6


def test_a_video(photos, tmp_path):
    names = sorted(path.name for path in photos.glob('*.png'))[:4]
    pictures = [cv2.resize(cv2.imread(str(photos / name)), (128, 128)) for name in names]
    write_video(tmp_path / 'clip.avi', [picture for picture in pictures for _ in range(3)])
    words = [tmp_path / 'clip.avi', '--weights', sample_weights(), '--fps', '5']
    assert detect(tmp_path / 'out', *words) == 0
    found = document_of(tmp_path / 'out')
    assert [entry['frame_id'] for entry in found['images']] == [0, 2, 4, 6, 8, 10]
    assert found['videos'] == [{'id': 1, 'name': 'clip.avi', 'fps': 5.0}]
    assert found['annotations']
    drawn = VideoReader(str(tmp_path / 'out' / 'pictures' / 'clip.avi'))
    assert (round(drawn.fps), len(list(drawn))) == (5, 6)
    assert detect(tmp_path / 'frames', *words, '--save', 'pictures') == 0
    assert len(list((tmp_path / 'frames' / 'pictures' / 'clip.avi').glob('*.jpg'))) == 6


def test_a_video_that_is_none(tmp_path, capsys):
    (tmp_path / 'clip.mp4').write_bytes(b'no video')
    with pytest.raises(DataError, match='cannot decode the video'):
        VideoReader(str(tmp_path / 'clip.mp4'))
    assert detect(tmp_path / 'out', tmp_path / 'clip.mp4', '--weights', sample_weights()) == 2
    assert 'clip.mp4' in capsys.readouterr().err
