"""What a device does differently, in words, from its outputs for the reference images.

The outputs are compared with those of the checkpoint's network and of its variants (:mod:`.mistakes`), also
with heads exchanged or turned. An explanation is given where it brings the outputs much closer than the plain
network does, not where it merely is the least bad.
"""

import itertools
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from ..verification import tolerances
from ..verification.heads import compare_heads
from .mistakes import FLOAT16, MISTAKES, PLAIN, WORDS, Values
from .order import sigmoid, sigmoids
from .reference import References

# An explanation leaves at most this share of the difference that there is without it.
_EXPLAINED = 0.3
# Distances are in standard deviations of the plain network's head; larger ones are as bad.
_FARTHEST = 10.0
# Above this, a difference is there: rounding in float32 makes 1e-6 to 1e-5.
_SOME = 1e-3

#: number of a reference image -> head -> float32 [channels, h, w]
Device = Mapping[int, Values]


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


def explain(device: Device, references: References) -> Explanation:
    """Compare a device's outputs for the reference images with the checkpoint's.

    Args:
        device: not empty.
        references: of the checkpoint.
    """
    plain, numbers = references.outputs[PLAIN], sorted(device)
    names = [name for name in plain if name in device[numbers[0]]]
    passed = sigmoids(np.stack([device[number]['hm'] for number in numbers]), plain['hm'][numbers])
    mistakes = ['hm has been through a sigmoid twice'] if passed == 2 else []
    remarks = ['hm has been through a sigmoid'] if passed == 1 else []
    expected = {
        variant: {name: _formed(heads[name], passed if name == 'hm' else 0) for name in names}
        for variant, heads in references.outputs.items()
    }
    figures = _figures(device, expected)
    found = {head.precision for head in figures}
    precision = None if None in found else 'float16' if 'float16' in found else 'float32'
    if not _is_finite(expected.get(FLOAT16, {})):
        remarks.append('this network overflows in float16')
    if precision is None:
        where = _where(device, expected[PLAIN]['hm'])
        displaced = _displaced(where)
        recognised, unexplained = _best(device, expected, where)
        mistakes = recognised + mistakes + displaced
        if not mistakes or (unexplained and not displaced):
            remarks.append(_unrecognised(figures, bool(mistakes)))
    elif precision == 'float16':
        remarks.append(WORDS[FLOAT16])
    mistakes += [f'the outputs lack {name}' for name in ('wh', 'reg') if name in plain and name not in names]
    return Explanation(len(device), figures, precision, mistakes, remarks)


def _formed(values: np.ndarray, times: int) -> np.ndarray:
    """Logits behind so many sigmoids."""
    for _ in range(times):
        values = sigmoid(values)
    return np.asarray(values, np.float32)


def _is_finite(heads: Values) -> bool:
    return all(np.isfinite(array).all() for array in heads.values())


def _figures(device: Device, expected: Mapping[str, Values]) -> List[HeadFigures]:
    numbers, half, found = sorted(device), expected.get(FLOAT16, {}), []
    plain = {name: array[numbers] for name, array in expected[PLAIN].items()}
    others = {name: np.stack([device[number][name] for number in numbers]) for name in plain}
    for name, facts in compare_heads([plain], [others]).facts['heads'].items():
        rounding = 0.0
        if name in half and np.isfinite(half[name]).all():
            first = expected[PLAIN][name][: len(half[name])]
            rounding = float(np.abs(first - half[name]).mean(dtype=np.float64))
        largest, mean = facts['absolute']['max'], facts['absolute']['mean']
        found.append(HeadFigures(name, facts['scale'], largest, mean, rounding, facts['correlation']))
    return found


def _best(device: Device, expected: Mapping[str, Values], where: Mapping[int, int]) -> Tuple[List[str], bool]:
    """The mistakes on the way to the outputs that explain the difference, and whether a difference remains.

    Args:
        device, expected: of each variant.
        where: number of a reference image -> number of the image whose outputs it has.
    """
    plain = expected[PLAIN]
    spread = {name: max(float(array.std()), 1e-9) for name, array in plain.items()}

    def distance(values: Values, others: Values) -> float:
        """Mean over the heads of the root mean square differences, in standard deviations."""
        found = []
        for name, scale in spread.items():
            apart = _FARTHEST
            if values[name].shape == others[name].shape:
                with np.errstate(over='ignore', invalid='ignore'):  # a variant may be infinite
                    apart = np.sqrt(np.mean((values[name] - others[name]) ** 2, dtype=np.float64)) / scale
            found.append(np.fmin(apart, _FARTHEST))  # that, too, for NaN
        return float(np.mean(found))

    def image(variant: str, number: int) -> Dict[str, np.ndarray]:
        return {name: array[number] for name, array in expected[variant].items()}

    count = min(len(heads['hm']) for heads in expected.values())
    pairs = [(number, source) for number, source in where.items() if source < count]
    if not pairs:
        return [], True
    scores = {}
    possible = [one for one in MISTAKES if one.undo and set(one.needs.split()) <= set(plain)]
    for size in range(len(possible) + 1):
        for arrangement in itertools.combinations(possible, size):
            arranged = {number: device[number] for number, _ in pairs}
            for mistake in arrangement:
                arranged = {number: mistake.undo(heads) for number, heads in arranged.items()}
            for variant in expected:
                if variant != FLOAT16:
                    each = [distance(arranged[number], image(variant, source)) for number, source in pairs]
                    scores[variant, arrangement] = float(np.mean(each))
    unchanged = scores[PLAIN, ()]
    if unchanged < _SOME:
        return [], False
    (variant, arrangement), best = min(scores.items(), key=lambda item: (item[1], len(item[0][1])))
    if best > _EXPLAINED * unchanged:
        return [], True
    left = _SOME
    if FLOAT16 in expected:  # networks with a mistake may be more sensitive than the right one
        half = [distance(image(PLAIN, number), image(FLOAT16, number)) for number in range(count)]
        left = max(left, 4 * tolerances.HALF_HEADS.limit * float(np.mean(half)))
    words = [] if variant == PLAIN else [WORDS[variant]]
    return words + [mistake.words for mistake in arrangement], best > left


def _unrecognised(heads: List[HeadFigures], partly: bool) -> str:
    if partly:
        return 'part of the difference remains unexplained'
    coarse = [head.mean / head.float16 for head in heads if head.float16 > 0]
    factor = f', {max(coarse):.0f} times what float16 would' if coarse else ''
    what = 'another network or another input may give this'
    if all(head.correlation is not None and head.correlation > 0.9 for head in heads):
        what = 'coarser numbers (a quantised network), or weights of another epoch, may give this'
    return f'no mistake that is known here explains the difference{factor}; {what}'


# images that have the outputs of another: batches that repeat one, and files under another's name


def _where(device: Device, hm: np.ndarray) -> Dict[int, int]:
    """number of a reference image -> number of the image whose outputs it has, by the heat maps [n, C, h,
    w]."""
    where = {}
    for number, heads in device.items():
        distances = np.sqrt(np.mean((heads['hm'] - hm) ** 2, axis=(1, 2, 3), dtype=np.float64))
        best = int(np.argmin(distances))
        where[number] = best if distances[best] < _EXPLAINED * distances[number] else number
    return where


def _displaced(where: Mapping[int, int]) -> List[str]:
    """The images that have the outputs of another, in words."""
    numbers = sorted(where)
    moved = [number for number in numbers if where[number] != number]
    if len(moved) > 2 and all(where[number] == number - 1 for number in numbers if number):
        return ['every image has the outputs of the image before it']
    noun, which = 'reference image', ''
    for batch in range(2, len(numbers) // 2 + 1) if moved else ():
        # place in a batch -> places of the images whose outputs are there, in any batch
        places = {place: set() for place in range(batch)}
        for number in numbers:
            places[number % batch].add(where[number] - number + number % batch)
        if all(len(some) == 1 and some <= set(places) for some in places.values()):
            where = {place: some.pop() for place, some in places.items()}
            noun, which = 'image', ' of each batch' if batch == 2 else f' of each batch of {batch}'
            break
    words = []
    for number, source in sorted(where.items()):
        mutual = where.get(source) == number  # as where an image has its own outputs
        if mutual and number < source:
            words.append(f'{noun}s {number + 1} and {source + 1}{which} are exchanged')
        elif not mutual:
            words.append(f'{noun} {number + 1}{which} has the outputs of {noun} {source + 1}')
    return words
