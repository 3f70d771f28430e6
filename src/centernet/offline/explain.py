"""What a device does differently, in words, from its outputs for the reference images.

The outputs are compared with those of the checkpoint's network and of its :mod:`.variants`, also with heads
exchanged or turned. An explanation is given where it brings the outputs much closer than the plain network
does, not where it merely is the least bad.
"""

import itertools
from collections import OrderedDict
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from ..verification import tolerances
from .placement import placement
from .reference import References
from .roles import sigmoid
from .variants import FLOAT16, PLAIN, VARIANTS

# An explanation leaves at most this share of the difference that there is without it.
_EXPLAINED = 0.3
# Distances are in standard deviations of the plain network's head; larger ones are as bad.
_FARTHEST = 10.0
# Above this, a difference is there: rounding in float32 makes 1e-6 to 1e-5.
_SOME = 1e-3
#: words of what is behind the network, by its name in an arrangement
_OUTPUTS = OrderedDict(
    [
        ('turned', 'rows and columns of the outputs exchanged'),
        ('exchanged', 'wh and reg exchanged'),
        ('wh', 'width and height exchanged in wh'),
        ('reg', 'x and y exchanged in reg'),
    ]
)


class HeadFigures(NamedTuple):
    """The differences of a head over the reference images.

    ``scale``: largest absolute value of the reference. ``largest``, ``mean``: of the absolute differences.
    ``float16``: mean difference that float16 would make, 0 if the network overflows in it.
    ``correlation``: None if one side is constant.
    """

    name: str
    scale: float
    largest: float
    mean: float
    float16: float
    correlation: Optional[float]

    @property
    def precision(self) -> Optional[str]:
        """``float32`` or ``float16`` if that explains the difference, else None."""
        if self.largest <= tolerances.HEADS.limit * self.scale:
            return 'float32'
        return 'float16' if self.mean <= tolerances.HALF_HEADS.limit * self.float16 else None


class Explanation(NamedTuple):
    """What was found out.

    ``images``: how many were compared. ``heads``: value by value, hm in the device's form. ``precision``:
    ``float32`` or ``float16`` if that explains the differences, else None. ``mistakes``: what the device does
    wrong, in the order of the data's way, empty if nothing was recognised. ``remarks``: what is not wrong,
    or not certain.
    """

    images: int
    heads: List[HeadFigures]
    precision: Optional[str]
    mistakes: List[str]
    remarks: List[str]

    def allowed(self, wanted: str) -> bool:
        """Whether it is the same model within a precision: ``auto`` (either), ``float32`` or ``float16``."""
        known = ('float32', 'float16') if wanted != 'float32' else ('float32',)
        return self.precision in known and not self.mistakes


def explain(device: Mapping[int, Mapping[str, np.ndarray]], references: References) -> Explanation:
    """Compare a device's outputs for the reference images with the checkpoint's.

    Args:
        device: number of the reference image -> head -> float32 [channels, h, w]; not empty.
        references: of the checkpoint.
    """
    names = [name for name in references.outputs[PLAIN] if name in next(iter(device.values()))]
    form, remarks, mistakes_of_form = _form_of_hm(device, references)
    expected = _Expected(references, names, form)
    heads = expected.figures(device)
    precision = _precision(heads)
    half = expected.outputs.get(FLOAT16, {}).values()
    if not all(np.isfinite(array).all() for array in half):
        remarks = [*remarks, 'this network overflows in float16']
    if precision is None:
        where, displaced = placement(device, expected.outputs[PLAIN])
        pipeline, unexplained = _best(device, expected, where)
        mistakes = pipeline + mistakes_of_form + displaced
        if not mistakes or (unexplained and not displaced):
            remarks = remarks + _unrecognised(heads, bool(mistakes))
    else:
        mistakes = list(mistakes_of_form)
        if precision == 'float16':
            remarks = remarks + [VARIANTS[FLOAT16].words]
    lacking = [name for name in ('wh', 'reg') if name in references.outputs[PLAIN] and name not in names]
    mistakes += [f'the outputs lack {name}' for name in lacking]
    return Explanation(len(device), heads, precision, mistakes, remarks)


class _Expected:
    """The references with hm in the device's form.

    ``outputs``: variant -> head -> [n, channels, h, w]; ``spread``: standard deviation of the plain heads.
    """

    def __init__(self, references, names, form):
        self.names = names
        self.outputs = OrderedDict(
            (
                variant,
                {name: form(array[name]) if name == 'hm' else np.asarray(array[name]) for name in names},
            )
            for variant, array in references.outputs.items()
        )
        self.spread = {name: max(float(self.outputs[PLAIN][name].std()), 1e-9) for name in names}

    def distance(self, variant, name, number, values):
        """Root mean square difference, in standard deviations of the plain head."""
        expected = self.outputs[variant][name][number]
        if expected.shape != values.shape:
            return _FARTHEST
        with np.errstate(over='ignore', invalid='ignore'):  # a variant may be infinite
            found = float(np.sqrt(np.mean((values - expected) ** 2, dtype=np.float64))) / self.spread[name]
        return min(found, _FARTHEST) if np.isfinite(found) else _FARTHEST

    def figures(self, device):
        numbers = sorted(device)
        plain, half = self.outputs[PLAIN], self.outputs.get(FLOAT16, {})
        found = []
        for name in self.names:
            ours = plain[name][numbers]
            others = np.stack([device[number][name] for number in numbers])
            difference = np.abs(ours.astype(np.float64) - others)
            rounding = 0.0
            if name in half and np.isfinite(half[name]).all():
                rounding = float(np.abs(plain[name][: len(half[name])] - half[name]).mean(dtype=np.float64))
            found.append(
                HeadFigures(
                    name,
                    float(np.abs(ours).max()),
                    float(difference.max()),
                    float(difference.mean()),
                    rounding,
                    _correlation(ours, others),
                )
            )
        return found


def _precision(heads: List[HeadFigures]) -> Optional[str]:
    found = {head.precision for head in heads}
    return None if None in found else 'float16' if 'float16' in found else 'float32'


def _form_of_hm(device, references):
    """(function from logits to the device's hm, remarks, mistakes)."""
    numbers = sorted(device)
    logits = np.asarray(references.outputs[PLAIN]['hm'])[numbers]
    hm = np.stack([device[number]['hm'] for number in numbers])
    if hm.min() < 0 or hm.max() > 1:
        return np.asarray, [], []
    once = sigmoid(logits)
    if hm.min() < 0.5 or np.abs(hm - once).mean() < np.abs(hm - sigmoid(once)).mean():
        return (lambda values: sigmoid(values).astype(np.float32)), ['hm has been through a sigmoid'], []
    twice = 'hm has been through a sigmoid twice'
    return (lambda values: sigmoid(sigmoid(values)).astype(np.float32)), [], [twice]


def _best(device, expected: _Expected, where: Mapping[int, int]) -> Tuple[List[str], bool]:
    """The mistakes on the way to the outputs that explain the difference, and whether a difference remains.

    Args:
        device: as for :func:`explain`.
        expected: the references.
        where: number of a reference image -> number of the image whose outputs it has.
    """
    count = min(len(outputs['hm']) for outputs in expected.outputs.values())
    pairs = [(number, source) for number, source in where.items() if source < count]
    if not pairs:
        return [], True
    scores = {}
    for arrangement in _arrangements(expected):
        arranged = {number: _arranged(device[number], arrangement) for number, _ in pairs}
        for variant in expected.outputs:
            if variant != FLOAT16:
                scores[(variant, arrangement)] = float(
                    np.mean(
                        [
                            expected.distance(variant, name, source, arranged[number][name])
                            for number, source in pairs
                            for name in expected.names
                        ]
                    )
                )
    plain = scores[(PLAIN, ())]
    if plain < _SOME:
        return [], False
    (variant, arrangement), best = min(scores.items(), key=lambda item: (item[1], len(item[0][1])))
    if best > _EXPLAINED * plain:
        return [], True
    words = [] if variant == PLAIN else [VARIANTS[variant].words]
    return words + [_OUTPUTS[name] for name in _OUTPUTS if name in arrangement], best > _remainder(expected)


def _remainder(expected: _Expected) -> float:
    """The distance that float16 may leave; networks with a mistake may be more sensitive than the right
    one."""
    if FLOAT16 not in expected.outputs:
        return _SOME
    distances = [
        expected.distance(PLAIN, name, number, expected.outputs[FLOAT16][name][number])
        for name in expected.names
        for number in range(len(expected.outputs[FLOAT16][name]))
    ]
    return max(_SOME, 4 * tolerances.HALF_HEADS.limit * float(np.mean(distances)))


def _arrangements(expected: _Expected) -> List[Tuple[str, ...]]:
    """What may be done to the outputs, fewest first."""
    plain = expected.outputs[PLAIN]
    possible = ['turned'] if plain['hm'].shape[2] == plain['hm'].shape[3] else []
    pairs = [name for name in ('wh', 'reg') if name in plain and plain[name].shape[1] == 2]
    possible += (['exchanged'] if len(pairs) == 2 else []) + pairs
    return [
        chosen for count in range(len(possible) + 1) for chosen in itertools.combinations(possible, count)
    ]


def _arranged(heads: Mapping[str, np.ndarray], arrangement: Tuple[str, ...]) -> Dict[str, np.ndarray]:
    """Undo an arrangement."""
    found = dict(heads)
    if 'turned' in arrangement:
        found = {name: values.transpose(0, 2, 1) for name, values in found.items()}
    if 'exchanged' in arrangement:
        found['wh'], found['reg'] = found['reg'], found['wh']
    for name in ('wh', 'reg'):
        if name in arrangement:
            found[name] = found[name][::-1]
    return found


def _unrecognised(heads: List[HeadFigures], partly: bool) -> List[str]:
    figures = ', '.join(
        f'{head.name} {"constant" if head.correlation is None else format(head.correlation, ".4f")}'
        for head in heads
    )
    coarse = [head.mean / head.float16 for head in heads if head.float16 > 0]
    factor = f', {max(coarse):.0f} times what float16 would' if coarse else ''
    if partly:
        return ['a part of the difference is left, which no mistake that is known here explains']
    close = all(head.correlation is not None and head.correlation > 0.9 for head in heads)
    what = (
        'coarser numbers (a quantised network), or weights of another epoch, may give this'
        if close
        else 'another network or another input may give this'
    )
    return [f'no mistake that is known here explains the difference{factor}; correlations: {figures}; {what}']


def _correlation(ours: np.ndarray, others: np.ndarray) -> Optional[float]:
    first, second = (np.asarray(values, np.float64).ravel() for values in (ours, others))
    first, second = first - first.mean(), second - second.mean()
    spread = float(np.sqrt(np.dot(first, first)) * np.sqrt(np.dot(second, second)))
    return float(np.dot(first, second)) / spread if spread > 0 else None
