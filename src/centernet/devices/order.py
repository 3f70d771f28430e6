"""Which output of a device is hm, wh or reg, and whether hm has been through a sigmoid."""

import contextlib
import itertools
from collections import Counter, OrderedDict
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..detection.heads import why_no_boxes
from ..system.errors import OptionError
from .manifest import Manifest
from .mistakes import PLAIN
from .reference import References
from .tools import CELLS, DTYPES, BadOutput, Found, Key, Output

# The right order must fit the references so many times as well as any other.
_CLEARLY = 2.0
# Distances are in standard deviations; what is farther is just as wrong.
_FARTHEST = 10.0


class Order(NamedTuple):
    """``heads``: which output is which head. ``is_probability``: hm has been through a sigmoid. ``notes``:
    what was decided, in lines for people."""

    heads: 'OrderedDict[Key, str]'
    is_probability: bool
    notes: List[str]


def sigmoid(values: np.ndarray) -> np.ndarray:
    """In float64, without warnings for large values."""
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(values, np.float64)))


def sigmoids(hm: np.ndarray, logits: np.ndarray) -> int:
    """How many sigmoids hm has been through, 0 to 2: what fits the checkpoint's logits best."""
    if hm.min() < 0 or hm.max() > 1:
        return 0
    forms = [np.asarray(logits, np.float64), sigmoid(logits), sigmoid(sigmoid(logits))]
    fits = [float(np.abs(hm - form).mean()) for form in forms]
    return int(np.argmin(fits[:2] if hm.min() < 0.5 else fits))  # two sigmoids are at least 0.5


def decide(
    found: Found, manifest: Manifest, references: References, wanted: Optional[Sequence[str]] = None
) -> Optional[Order]:
    """Decide by the names of the outputs, their sizes, and the reference images.

    Args:
        found: the outputs.
        manifest, references: of the inputs.
        wanted: heads in the order of the outputs, as the user gives them.

    Returns:
        Order; None if no image has all of its outputs yet.

    Raises:
        OptionError: they cannot be told apart, or are not those of this network.
    """
    whole = [list(parts) for parts in found.parts.values() if CELLS not in parts]
    kinds = Counter(map(frozenset, whole))
    if not kinds:
        return None
    most = max(kinds, key=lambda keys: (kinds[keys], len(keys)))
    keys = next(keys for keys in whole if set(keys) == most)
    if all(isinstance(key, int) for key in keys):
        keys.sort()
    shown = ', '.join(map(str, keys))
    named = all(key in manifest.heads for key in keys)
    if wanted is not None and named:
        raise OptionError(f'--order is for outputs without names; these are called {shown}')
    heads = list(keys if named else wanted or _by_values(keys, found, manifest, references))
    if len(heads) != len(keys) or len(set(heads) & set(manifest.heads)) != len(keys):
        raise OptionError(f'--order {",".join(heads)}: name each of {", ".join(manifest.heads)} once')
    reason = why_no_boxes({head: manifest.heads[head] for head in heads})
    if reason:
        raise OptionError(f'cannot detect with these outputs: {reason}')
    is_probability = _is_probability(keys[heads.index('hm')], found, manifest, references)
    notes = [] if named else [f'outputs {shown} are {", ".join(heads)}']
    absent = [head for head in manifest.heads if head not in heads]
    if absent:
        notes.append(f'the outputs lack {" and ".join(absent)}, which the checkpoint has')
    if is_probability:
        notes.append('hm has been through a sigmoid, and is taken as it is')
    return Order(OrderedDict(zip(keys, heads)), is_probability, notes)


def _by_values(keys: List[Key], found: Found, manifest: Manifest, references: References) -> List[str]:
    """The heads in the order of the keys."""
    for position, places in references.positions(manifest).items():
        outputs = [found.parts.get(position, {}).get(key) for key in keys]
        ranked = _ranked(outputs, manifest, references, position, *places[0]) if all(outputs) else []
        if ranked:
            break
    else:
        network = ', '.join(f'{head} ({count})' for head, count in manifest.heads.items())
        raise OptionError(
            f'cannot tell outputs apart: no reference image has {len(keys)} finite outputs of {network}'
            f' [{manifest.cells[0]}, {manifest.cells[1]}]: give the right --manifest, or --order'
        )
    for (cost, heads), (more, others) in zip(ranked, ranked[1:2]):
        disputed = [index for index, head in enumerate(heads) if head != others[index]]
        if _CLEARLY * sum(cost[index] for index in disputed) > sum(more[index] for index in disputed):
            raise OptionError(
                f'cannot tell if the outputs are {",".join(heads)} or {",".join(others)}: give --order'
            )
    return list(ranked[0][1])


def _ranked(
    outputs: List[Output], manifest: Manifest, references: References, position: int, place: int, number: int
) -> List[Tuple[List[float], Tuple[str, ...]]]:
    """(cost of each output, heads in the order of the outputs) of every possible order, the best first.

    A cost is the distance from the reference image ``number``, which is at ``place`` in the input file. All
    outputs must have the same type (with four classes, hm in float16 is as long as wh in float32), and fit
    the same network, with or without a mistake.
    """
    images, best = len(manifest.files[position].images), {}
    for dtype in DTYPES:
        costs = {}
        for index, head in itertools.product(range(len(outputs)), manifest.heads):
            try:
                array = outputs[index].head(head, images, manifest, (dtype,))[place]
            except BadOutput:
                continue
            for variant, expected in references.outputs.items():
                if number < len(expected[head]):
                    cost = _distance(array, expected[head][number], head == 'hm')
                    costs.setdefault(variant, {})[index, head] = cost
        for heads, each in itertools.product(
            itertools.permutations(manifest.heads, len(outputs)), costs.values()
        ):
            if each.keys() >= set(enumerate(heads)):
                found = [each[pair] for pair in enumerate(heads)]
                best[heads] = min(best.get(heads, found), found, key=sum)
    return sorted(((cost, heads) for heads, cost in best.items()), key=lambda item: (sum(item[0]), item[1]))


def _distance(values: np.ndarray, expected: np.ndarray, is_hm: bool) -> float:
    """Of the values, and of the sorted values, which do not depend on where they are."""
    forms = [np.asarray(expected, np.float64)]
    if is_hm:
        forms += [sigmoid(forms[0]), sigmoid(sigmoid(forms[0]))]
    values, found = values.astype(np.float64), [2 * _FARTHEST]
    for form in forms:
        if np.isfinite(form).all():  # a variant may be infinite
            differences = (values - form, np.sort(values, axis=None) - np.sort(form, axis=None))
            scale = max(float(form.std()), 1e-6)
            parts = [float(np.sqrt(np.mean(difference**2))) / scale for difference in differences]
            found.append(sum(min(part, _FARTHEST) for part in parts))
    return min(found)


def _is_probability(key: Key, found: Found, manifest: Manifest, references: References) -> bool:
    """Whether hm fits a sigmoid of the reference best; without one, whether it is within 0 and 1."""
    positions = references.positions(manifest)
    for position in [*positions, *found.parts]:
        with contextlib.suppress(BadOutput, KeyError):
            images = len(manifest.files[position].images)
            hm = found.parts[position][key].head('hm', images, manifest)
            if position not in positions:
                return bool(hm.min() >= 0 and hm.max() <= 1)
            place, number = positions[position][0]
            return sigmoids(hm[place], references.outputs[PLAIN]['hm'][number]) > 0
    return False
