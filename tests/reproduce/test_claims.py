import pytest

from centernet.fetch.catalog import FILES
from centernet.reproduce import PUBLISHED, SAMPLE, choose
from centernet.sample import IMAGES
from centernet.system.errors import OptionError
from centernet.verification.tolerances import TABLE


def test_the_published_claims():
    assert {network.arch: network.ap for network in PUBLISHED.networks} == {
        'dla_34': {'fix_res': 0.366, 'keep_res': 0.374, 'keep_res, flip': 0.392},
        'resdcn_18': {'keep_res': 0.281, 'keep_res, flip': 0.300},
    }
    assert (PUBLISHED.images, TABLE[PUBLISHED.tolerance].limit) == (5000, 0.002)
    files = {file.name: file for file in FILES}  # the claims are about the files that are fetched
    assert all(files[network.weights].sha256 == network.sha256 for network in PUBLISHED.networks)
    assert files['annotations_trainval2017.zip'].contents.sha256 == PUBLISHED.annotations_sha256
    assert files['val2017.zip'].contents.count == PUBLISHED.images


def test_the_claims_about_the_sample():
    assert SAMPLE.networks[0].ap == {
        'fix_res': 0.713398,
        'keep_res': 0.701327,
        'keep_res, flip': 0.725448,
    }
    assert (SAMPLE.images, TABLE[SAMPLE.tolerance].limit) == (IMAGES, 0.001)


def test_choose():
    assert [network.arch for network in choose(PUBLISHED, 'resdcn_18').networks] == ['resdcn_18']
    assert choose(PUBLISHED, None) == PUBLISHED
    with pytest.raises(OptionError) as caught:
        choose(PUBLISHED, 'hourglass')
    assert 'dla_34, resdcn_18' in str(caught.value)
