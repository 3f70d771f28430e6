import copy
import json

import pytest

from centernet.errors import OptionError
from centernet.fetch import read_manifest
from centernet.reproduce import PUBLISHED_CLAIMS, SAMPLE_CLAIMS, choose, read_claims
from centernet.sample import IMAGES

CLAIMS = {
    'data': 'shapes',
    'source': 'us',
    'tolerance': 'recorded',
    'images': 3,
    'annotations_sha256': 'a' * 64,
    'networks': [
        {
            'arch': 'res_18',
            'weights': 'a.pth',
            'sha256': 'b' * 64,
            'input_size': [64, 96],
            'AP': {'keep_res': 0.5, 'fix_res': None},
        }
    ],
}


def read(tmp_path, content):
    path = tmp_path / 'claims.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_claims(str(path))


def test_the_published_table():
    claims = read_claims(PUBLISHED_CLAIMS)
    assert {network.arch: dict(network.figures) for network in claims.networks} == {
        'dla_34': {'fix_res': 0.366, 'keep_res': 0.374, 'keep_res, flip': 0.392},
        'resdcn_18': {'fix_res': None, 'keep_res': 0.281, 'keep_res, flip': 0.300},
    }
    assert (claims.images, claims.tolerance.limit) == (5000, 0.002)
    items = {item.name: item for item in read_manifest()}  # what is fetched is what is claimed about
    assert all(items[network.weights].sha256 == network.sha256 for network in claims.networks)
    assert items['annotations_trainval2017.zip'].unpack[0].sha256 == claims.annotations_sha256
    assert items['val2017.zip'].unpack[0].files == claims.images


def test_the_sample_s_table():
    claims = read_claims(SAMPLE_CLAIMS)
    assert [name for name, _ in claims.networks[0].figures] == ['fix_res', 'keep_res', 'keep_res, flip']
    assert (claims.images, claims.tolerance.limit) == (IMAGES, 0.001)


def test_one_network_is_chosen(tmp_path):
    claims = read_claims(PUBLISHED_CLAIMS)
    assert [network.arch for network in choose(claims, 'resdcn_18').networks] == ['resdcn_18']
    assert choose(claims, None) == claims
    with pytest.raises(OptionError) as caught:
        choose(claims, 'hourglass')
    assert 'only about dla_34, resdcn_18' in str(caught.value)


def test_order_and_none_are_kept(tmp_path):
    assert read(tmp_path, CLAIMS).networks[0].figures == (('keep_res', 0.5), ('fix_res', None))


@pytest.mark.parametrize(
    'keys, value',
    [
        (['tolerance'], 'generous'),
        (['tolerance'], None),
        (['images'], '3'),
        (['annotations_sha256'], 'a'),
        (['networks'], []),
        (['networks'], {}),
        (['networks', 0], 'res_18'),
        (['networks', 0, 'weights'], '../a.pth'),
        (['networks', 0, 'sha256'], 7),
        (['networks', 0, 'input_size'], [64]),
        (['networks', 0, 'input_size'], [64, '64']),
        (['networks', 0, 'AP'], 0.5),
        (['networks', 0, 'AP'], {'best': 0.5}),
        (['networks', 0, 'AP'], {'fix_res': 37.4}),
        (['networks', 0, 'AP'], {'fix_res': '0.4'}),
        (['source'], None),
        (['networks', 0, 'arch'], None),
    ],
    ids=str,
)
def test_tables_that_are_wrong(tmp_path, keys, value):
    content = copy.deepcopy(CLAIMS)
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    with pytest.raises(OptionError) as caught:
        read(tmp_path, content)
    assert 'claims.json' in str(caught.value)


@pytest.mark.parametrize('content', ['{', '[]', 'null'])
def test_what_is_no_table(tmp_path, content):
    with pytest.raises(OptionError):
        read(tmp_path, content)


def test_no_table(tmp_path):
    with pytest.raises(OptionError) as caught:
        read_claims(str(tmp_path / 'nowhere.json'))
    assert 'nowhere.json' in str(caught.value)
