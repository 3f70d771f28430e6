"""Evaluations to report on."""

import json

import pytest
from support.made_up import made_up_dataset


@pytest.fixture(scope='session')
def sample_folder_of_run(tmp_path_factory):
    """The folder of an evaluation of the built-in sample."""
    from centernet.cli import main

    folder = tmp_path_factory.mktemp('evaluation') / 'eval-pth'
    assert main(['eval-pth', '--device', 'cpu', '--no-progress', '--output', str(folder)]) == 0
    return folder


@pytest.fixture(scope='session')
def sample_run(sample_folder_of_run):
    from centernet.report import load_run

    return load_run(str(sample_folder_of_run))


@pytest.fixture(scope='session')
def write_run():
    """Write a made-up evaluation with pictures: write_run(folder, **options of made_up_run) -> its folder."""

    def write(folder, pictures=True, **options):
        import cv2
        import numpy as np
        from support.made_up import SIZE, run_of

        from centernet.coco import CocoData
        from centernet.files import sha256

        dataset, results = made_up_dataset(**options)
        (folder / 'images').mkdir(parents=True)
        (folder / 'annotations.json').write_text(json.dumps(dataset))
        random = np.random.RandomState(0)
        for image in dataset['images'] if pictures else ():
            noise = random.randint(0, 256, (SIZE[1] // 8, SIZE[0] // 8, 3)).astype(np.uint8)
            cv2.imwrite(str(folder / 'images' / image['file_name']), cv2.resize(noise, SIZE))
        if not pictures:
            (folder / 'images' / '1.jpg').write_bytes(b'not a picture')
        data = CocoData.load(None, str(folder / 'annotations.json'), str(folder / 'images'))
        document = run_of(data, results).document
        document['data']['annotations_sha256'] = sha256(data.annotations)
        run = folder / 'run'
        run.mkdir()
        (run / 'metrics.json').write_text(json.dumps(document))
        (run / 'results.json').write_text(json.dumps(results))
        return run

    return write
