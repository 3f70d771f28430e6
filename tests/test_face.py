"""What ``import centernet`` offers, to a program that has its own logging, threads and signals."""

import importlib
import logging
import os
import pkgutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from support.random_weights import save_checkpoint

import centernet
from centernet.sample import SAMPLE_WEIGHTS, sample_folder
from centernet.system.errors import OptionError

FUNCTIONS = ('open_network', 'detect', 'predict', 'score', 'export', 'verify')
IMPORT = """
import sys, time
start = time.process_time()
import centernet
print(time.process_time() - start, *{'torch', 'cv2', 'numpy', 'onnx'}.intersection(sys.modules))
"""


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return sample_folder(str(tmp_path_factory.mktemp('face')))


@pytest.fixture(scope='module')
def network():
    return centernet.open_network(SAMPLE_WEIGHTS, device='cpu')


@pytest.fixture(scope='module')
def image(data):
    return cv2.imread(os.path.join(data, 'val2017', '000000000153.png'))


def test_importing_is_quick_and_loads_nothing_heavy():
    printed = [subprocess.check_output([sys.executable, '-c', IMPORT]).split() for _ in range(5)]
    assert [heavy for _, *heavy in printed] == [[]] * 5
    assert min(float(seconds) for seconds, *_ in printed) < 0.1


def state():
    """What belongs to the program that imports this package."""
    umask = os.umask(0)
    os.umask(umask)
    loggers = [logging.getLogger(name) for name in ('', 'centernet')]
    return [
        umask,
        os.getcwd(),
        [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
        [(logger.level, logger.disabled, list(logger.handlers)) for logger in loggers],
        (torch.get_num_threads(), cv2.getNumThreads()),
    ]


def test_every_function_works_in_a_program_of_its_own(data, image, tmp_path, capfd):
    for module in pkgutil.walk_packages(centernet.__path__, 'centernet.'):
        if not module.name.endswith('__main__'):
            importlib.import_module(module.name)
    assert all(callable(getattr(centernet, name)) for name in FUNCTIONS)
    before = state()

    network = centernet.open_network(SAMPLE_WEIGHTS, device='cpu')
    folder = centernet.predict(network, data, str(tmp_path / 'run'), limit=6, workers=1)
    found = centernet.score(folder)
    files = centernet.export(SAMPLE_WEIGHTS, str(tmp_path), ['portable', 'ascend'])
    exported = centernet.open_network(files['portable'], device='cpu')
    (ours,), (theirs,) = centernet.detect(network, image), centernet.detect(exported, [image])
    verified = centernet.verify(files['portable'], SAMPLE_WEIGHTS, str(tmp_path / 'verified'), data, limit=4)

    assert found.metrics.stats['AP'] > 0.5 and len(found.image_ids) == 6
    assert exported.info.fixed == network.info.stored == (128, 128)
    np.testing.assert_allclose(ours, theirs, atol=0.001)
    assert [network.info.class_names[int(label)] for label in ours[:, 5]] == [
        'circle',
        'triangle',
        'triangle',
    ]
    assert verified.passed
    assert state() == before
    assert tuple(capfd.readouterr()) == ('', '')


def test_detect_has_the_boxes_of_predict(network, data, image, tmp_path):
    folder = centernet.predict(network, data, str(tmp_path), ids=[153], batch_size=1, flip_test=True)
    results = centernet.score(folder).detections
    (boxes,) = centernet.detect(network, image, score=0, flip_test=True)
    scores = sorted((item['score'] for item in results), reverse=True)
    np.testing.assert_allclose(boxes[:, 4], scores, atol=0.00501)  # two decimals, as CenterNet writes


def test_networks_work_in_threads(network, image, tmp_path):
    save_checkpoint(tmp_path / 'random.pth', 'dla_tiny', {'hm': 2, 'wh': 2, 'reg': 2}, 64)
    other = centernet.open_network(str(tmp_path / 'random.pth'), device='cpu')
    jobs = [(network, 128), (other, 64), (network, 64), (other, 128)] * 3

    def run(job):
        return centernet.detect(job[0], image, score=0, input_height=job[1], input_width=job[1])[0]

    alone = [run(job) for job in jobs]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(run, jobs))
    for one, two in zip(alone, together):
        np.testing.assert_array_equal(one, two)


PLANES = np.zeros((1, 3, 64, 64), np.float32)


@pytest.mark.parametrize(
    'images, words',
    [
        ('photo.jpg', "float32 .*'photo.jpg'"),
        (PLANES.astype(np.float64), 'float32 .*float64'),
        (PLANES[0], r'\[N, 3, H, W\], not float32 \[3, 64, 64\]'),
        (PLANES[:, :1], r'\[1, 1, 64, 64\]'),
        (PLANES[:0], r'\[0, 3, 64, 64\]'),
        (PLANES[..., :50], 'multiples of 32, not 64 x 50'),
    ],
)
def test_a_network_says_what_it_takes(network, images, words):
    with pytest.raises(OptionError, match=words):
        network(images)


@pytest.mark.parametrize(
    'images, words',
    [
        ('photo.jpg', "uint8 .*'photo.jpg'"),
        (PLANES[0].transpose(1, 2, 0), 'uint8 .*float32'),
        (np.zeros((8, 8), np.uint8), r'blue, green, red.*uint8 \[8, 8\]'),
        ([np.zeros((0, 8, 3), np.uint8)], r'uint8 \[0, 8, 3\]'),
        ([None], 'not None'),
    ],
)
def test_detect_says_what_it_takes(network, images, words):
    with pytest.raises(OptionError, match=words):
        centernet.detect(network, images)


@pytest.mark.parametrize(
    'options, words',
    [
        ({'input_height': 100}, 'multiples of 32'),
        ({'height': 64}, "no option 'height'; it has .*input_height"),
        ({'normalization': 'brown'}, "'brown' is not a normalization"),
        ({'test_scales': '1,x'}, "numbers .*'x'"),
        ({'test_scales': [1, -1]}, 'positive'),
        ({'max_detections': 0}, 'at least 1'),
    ],
)
def test_options_that_cannot_be(network, image, options, words):
    with pytest.raises(OptionError, match=words):
        centernet.detect(network, image, **options)


def test_options_are_read_as_on_the_command_line(network, image):
    (numbers,) = centernet.detect(network, image, normalization='0.5,0.5,0.5/1,1,1', test_scales=[0.5, 1])
    (names,) = centernet.detect(network, image, normalization='half', test_scales='0.5,1')
    np.testing.assert_array_equal(numbers, names)
