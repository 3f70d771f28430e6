"""Which normalization the first layers of a network fit: the sample's, made to expect each of them."""

import pytest
from support.changed_sample import save_changed, trained_with
from torch import nn

from centernet.coco import CocoData
from centernet.detection import NORMALIZATIONS, InputSpec
from centernet.networks.architectures import create_model
from centernet.networks.checkpoint import load_model
from centernet.networks.runtimes.torch_runtime import TorchNetwork
from centernet.runs.normalization_check import better_normalization
from centernet.sample import SAMPLE_WEIGHTS, sample_folder

#: coco and pascal are too near each other to tell
NEAR = ('coco', 'pascal')


@pytest.fixture(scope='module')
def sample(tmp_path_factory):
    return CocoData.load(sample_folder(str(tmp_path_factory.mktemp('sample'))))


def check(model, data, used='coco'):
    spec = InputSpec(128, 128, normalization=NORMALIZATIONS[used])
    layers = TorchNetwork(model, 'cpu', {'hm': 1}).first_layers()
    return better_normalization(layers, data, data.image_ids, spec)


@pytest.mark.parametrize('trained', list(NORMALIZATIONS))
def test_the_right_one_is_named_whatever_is_used(trained, sample, tmp_path):
    path = save_changed(tmp_path / 'net.pth', trained_with(NORMALIZATIONS[trained]))
    model = load_model(path).model
    for used in NORMALIZATIONS:
        found = check(model, sample, used)
        if used == trained or (used in NEAR and trained in NEAR):
            assert found is None, (trained, used)
        else:
            assert found == trained or (found in NEAR and trained in NEAR), (trained, used)


@pytest.mark.parametrize('arch', ['dla_tiny', 'resdcn_18', 'hourglass'])
def test_a_network_that_was_never_trained_says_nothing(arch, sample):
    if arch == 'hourglass':  # as large as it is, only its first layers matter here
        model = nn.Sequential(nn.Conv2d(3, 8, 7), nn.BatchNorm2d(8))
    else:
        model = create_model(arch, {'hm': 1, 'wh': 2, 'reg': 2})
    assert check(model, sample, 'unit') is None


def test_other_first_layers_say_nothing(sample):
    norm = nn.BatchNorm2d(8)
    norm.running_mean += 1
    assert check(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), norm), sample) is None
    assert (
        check(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False)), sample) is None
    )
    assert check(nn.Sequential(nn.Conv2d(1, 8, 3), norm), sample) is None
    assert check(nn.Sequential(nn.ReLU()), sample) is None


def test_images_that_cannot_be_read_are_left_out(sample, tmp_path):
    nowhere = CocoData(sample.to_dataset(), sample.annotations, str(tmp_path))
    assert check(load_model(SAMPLE_WEIGHTS).model, nowhere, 'unit') is None
    assert check(load_model(SAMPLE_WEIGHTS).model, sample, 'unit') in NEAR
