"""What is claimed: the published AP of two networks on COCO val2017, and the recorded AP of the sample."""

from typing import Dict, NamedTuple, Optional, Tuple

from ..fetch import catalog
from ..networks.architectures.registry import known_name
from ..system.errors import OptionError

#: how AP is measured, at a single scale: name -> (keep_res, flip_test)
PROTOCOLS = {'fix_res': (False, False), 'keep_res': (True, False), 'keep_res, flip': (True, True)}


class NetworkClaims(NamedTuple):
    """What is claimed about a checkpoint.

    ``weights``: the name of its file; ``input_size``: the (height, width) of fix_res and of the exports;
    ``ap``: protocol -> AP in [0, 1].
    """

    arch: str
    weights: str
    sha256: str
    input_size: Tuple[int, int]
    ap: Dict[str, float]


class Claims(NamedTuple):
    """Claims on one data set. ``data`` and ``source`` are texts for the report; ``tolerance``, for AP, is a
    name in the table of tolerances; ``images`` is the number of images in the data set."""

    data: str
    source: str
    tolerance: str
    images: int
    annotations_sha256: str
    networks: Tuple[NetworkClaims, ...]


PUBLISHED = Claims(
    'COCO val2017',
    "CenterNet's model zoo; dla_34 at fix_res as reported by users of its export",
    'published_ap',
    catalog.VAL_IMAGES.count,
    catalog.VAL_ANNOTATIONS.sha256,
    (
        NetworkClaims(
            'dla_34',
            catalog.DLA_34.name,
            catalog.DLA_34.sha256,
            (512, 512),
            {'fix_res': 0.366, 'keep_res': 0.374, 'keep_res, flip': 0.392},
        ),
        NetworkClaims(
            'resdcn_18',
            catalog.RESDCN_18.name,
            catalog.RESDCN_18.sha256,
            (512, 512),
            {'keep_res': 0.281, 'keep_res, flip': 0.300},
        ),
    ),
)

SAMPLE = Claims(
    'the built-in sample',
    'this project, by eval-pth on an AMD EPYC, the same on both stacks',
    'recorded_ap',
    200,
    'c7b98a34c4854d78c1a6c1cac1c46b9aea36367288398608d05661c64d210ee9',
    (
        NetworkClaims(
            'dla_tiny',
            'dla_tiny.pth',
            '9960e038172886f78e14d3687339d2414e2ad8f9447e77c52edb827b72146eab',
            (128, 128),
            {'fix_res': 0.713398, 'keep_res': 0.701327, 'keep_res, flip': 0.725448},
        ),
    ),
)


def choose(claims: Claims, arch: Optional[str]) -> Claims:
    """Return the claims about one architecture, or all if ``arch`` is None.

    Raises:
        OptionError: there are none about it.
    """
    if arch is None:
        return claims
    networks = tuple(network for network in claims.networks if network.arch == known_name(arch))
    if not networks:
        known = ', '.join(network.arch for network in claims.networks)
        raise OptionError(f'there are no claims about {arch} on {claims.data}, only about {known}')
    return claims._replace(networks=networks)
