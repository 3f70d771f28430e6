"""What is claimed: the published AP of two networks on COCO val2017, and the recorded AP of the sample."""

from typing import NamedTuple, Optional, Tuple

from ..errors import OptionError
from ..fetch import catalog
from ..models.registry import known_name
from ..verification.tolerances import PUBLISHED_AP, RECORDED_AP, Tolerance


class Protocol(NamedTuple):
    """How a figure was measured, at a single scale."""

    name: str
    keep_res: bool
    flip_test: bool


FIX_RES = Protocol('fix_res', False, False)
KEEP_RES = Protocol('keep_res', True, False)
KEEP_RES_FLIP = Protocol('keep_res, flip', True, True)


class Figure(NamedTuple):
    """A claimed AP in [0, 1]; None if none is published, and it is only measured."""

    protocol: Protocol
    ap: Optional[float]


class NetworkClaims(NamedTuple):
    """The figures of a checkpoint. ``weights`` is the name of its file; ``input_size`` the (height, width) of
    fix_res and of the exports."""

    arch: str
    weights: str
    sha256: str
    input_size: Tuple[int, int]
    figures: Tuple[Figure, ...]


class Claims(NamedTuple):
    """Figures on one data set. ``data`` and ``source`` are texts for the report; ``images`` is the number of
    images in the data set; ``tolerance`` is for AP."""

    data: str
    source: str
    tolerance: Tolerance
    images: int
    annotations_sha256: str
    networks: Tuple[NetworkClaims, ...]


PUBLISHED = Claims(
    'COCO val2017',
    "CenterNet's model zoo; dla_34 at fix_res as reported by users of its export",
    PUBLISHED_AP,
    catalog.VAL_IMAGES.count,
    catalog.VAL_ANNOTATIONS.sha256,
    (
        NetworkClaims(
            'dla_34',
            catalog.DLA_34.name,
            catalog.DLA_34.sha256,
            (512, 512),
            (Figure(FIX_RES, 0.366), Figure(KEEP_RES, 0.374), Figure(KEEP_RES_FLIP, 0.392)),
        ),
        NetworkClaims(
            'resdcn_18',
            catalog.RESDCN_18.name,
            catalog.RESDCN_18.sha256,
            (512, 512),
            (Figure(FIX_RES, None), Figure(KEEP_RES, 0.281), Figure(KEEP_RES_FLIP, 0.300)),
        ),
    ),
)

SAMPLE = Claims(
    'the built-in sample',
    'this project, by eval-pth on an AMD EPYC, the same on both stacks',
    RECORDED_AP,
    200,
    'b332e341f7caa69f57951be9bccfb50ce5d0abe6365188caf74af331f4412a86',
    (
        NetworkClaims(
            'dla_tiny',
            'dla_tiny.pth',
            '9960e038172886f78e14d3687339d2414e2ad8f9447e77c52edb827b72146eab',
            (128, 128),
            (Figure(FIX_RES, 0.713398), Figure(KEEP_RES, 0.701327), Figure(KEEP_RES_FLIP, 0.725448)),
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
