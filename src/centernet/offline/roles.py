"""Tell which output of a device is which head, and whether hm has been through a sigmoid."""

import itertools
from collections import Counter, OrderedDict
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..detection.heads import why_no_boxes
from ..errors import OptionError
from .manifest import Manifest
from .parts import Found, Key
from .reading import BadOutput, NotFinite, as_head, load
from .reference import References
from .variants import PLAIN

# The right order must fit the references so many times as well as any other.
_CLEARLY = 2.0
# Distances are in standard deviations; what is farther is just as wrong.
_FARTHEST = 10.0
_DTYPES = (np.float32, np.float16)


class Roles(NamedTuple):
    """``order``: which output is which head. ``is_probability``: hm has been through a sigmoid. ``notes``:
    what was decided, in lines for people."""

    order: 'OrderedDict[Key, str]'
    is_probability: bool
    notes: List[str]


def sigmoid(values: np.ndarray) -> np.ndarray:
    """In float64, without warnings for large values."""
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(values, np.float64)))


def decide(
    found: Found, manifest: Manifest, references: References, wanted: Optional[Sequence[str]] = None
) -> Optional[Roles]:
    """Decide by the names of the outputs, their channels, and the reference images.

    Args:
        found: the outputs.
        manifest, references: of the inputs.
        wanted: heads in the order of the outputs, as the user gives them.

    Returns:
        Roles; None if no image has all of its outputs yet.

    Raises:
        OptionError: they cannot be told apart, or are not those of this network.
    """
    complete = _complete(found)
    if complete is None:
        return None
    keys = list(found.parts[complete])
    if all(isinstance(key, int) for key in keys):
        keys.sort()
    named = all(key in manifest.heads for key in keys)
    if wanted is not None and named:
        raise OptionError(
            f'--order is for outputs without names; these are called {", ".join(map(str, keys))}'
        )
    if wanted is not None:
        order = _as_wanted(keys, wanted, manifest)
    elif named:
        order = OrderedDict((key, str(key)) for key in keys)
    else:
        order = _by_values(keys, found, manifest, references)
    reason = why_no_boxes({head: manifest.heads[head] for head in order.values()})
    if reason:
        raise OptionError(f'these outputs make no boxes: {reason}')
    is_probability = _is_probability(order, found, manifest, references, complete)
    notes = []
    if list(order.values()) != [str(key) for key in order]:
        notes.append('outputs: {}'.format(', '.join(f'{key} is {head}' for key, head in order.items())))
    absent = [head for head in manifest.heads if head not in order.values()]
    if absent:
        notes.append(f'the outputs lack {" and ".join(absent)}, which the checkpoint has')
    if is_probability:
        notes.append('hm has been through a sigmoid, and is taken as it is')
    return Roles(order, is_probability, notes)


def reference_positions(manifest: Manifest, references: References) -> 'OrderedDict[int, List[tuple]]':
    """Position of an input file -> (place in the file, number of the reference) of its reference images."""
    places, found = manifest.places(), OrderedDict()
    for number, image_id in enumerate(references.image_ids):
        if image_id in places:
            position, place = places[image_id]
            found.setdefault(position, []).append((place, number))
    return found


def _complete(found: Found) -> Optional[int]:
    """The first input file with the outputs that most of them have."""
    kinds = Counter(frozenset(parts) for parts in found.parts.values())
    most = max(kinds, key=lambda keys: (kinds[keys], len(keys)), default=None)
    return next(
        (position for position in sorted(found.parts) if frozenset(found.parts[position]) == most), None
    )


def _as_wanted(keys: List[Key], wanted: Sequence[str], manifest: Manifest) -> 'OrderedDict[Key, str]':
    unknown = [head for head in wanted if head not in manifest.heads]
    if unknown or len(set(wanted)) != len(keys) or len(wanted) != len(keys):
        raise OptionError(
            f'--order {",".join(wanted)}: name each of the {len(keys)} outputs once, with the heads'
            f' {", ".join(manifest.heads)}'
        )
    return OrderedDict(zip(keys, wanted))


def _by_values(
    keys: List[Key], found: Found, manifest: Manifest, references: References
) -> 'OrderedDict[Key, str]':
    candidates, problem = None, None
    for position, places in reference_positions(manifest, references).items():
        parts = found.parts.get(position, {})
        if any(key not in parts for key in keys):
            continue
        try:
            costs = _costs(keys, parts, manifest, references, position, places)
        except BadOutput as error:
            problem = error
            continue
        candidates = _ranked(keys, costs, manifest)
        break
    if candidates is None:
        why = f'; {problem}' if problem else ': none of the reference images has outputs'
        raise OptionError(f'cannot tell which output is which{why}; give --order, such as --order hm,wh,reg')
    if not candidates:
        raise OptionError(
            'these {} outputs are not those of this network, which has {} with {} x {} cells: is this the'
            ' right --manifest?'.format(
                len(keys),
                ', '.join(f'{head} ({count})' for head, count in manifest.heads.items()),
                *manifest.cells,
            )
        )
    if len(candidates) > 1 and not _is_clear(candidates):
        choices = ' or '.join(','.join(heads) for _, heads in candidates[:2])
        raise OptionError(
            f'cannot tell which output is which: they fit the references about as well as {choices}; give'
            ' --order'
        )
    return OrderedDict(zip(keys, candidates[0][1]))


def _costs(
    keys, parts, manifest, references, position, places
) -> Dict[Key, Dict[Tuple[str, type], Dict[str, float]]]:
    """key -> (head, dtype) of that size -> variant -> distance from the reference.

    With four classes, hm in float16 is as long as wh in float32: all outputs must have the same type.
    """
    costs = {}
    images = len(manifest.files[position].images)
    for key in keys:
        content, costs[key] = load(parts[key]), {}
        for head, dtype in itertools.product(manifest.heads, _DTYPES):
            try:
                array = as_head(parts[key], content, head, images, manifest, (dtype,))
            except NotFinite:
                if dtype is np.float32:
                    raise
                continue
            except BadOutput:
                continue
            costs[key][head, dtype] = {
                variant: _distance(array, outputs[head], places, head == 'hm')
                for variant, outputs in references.outputs.items()
                if all(number < len(outputs[head]) for _, number in places[:1])
            }
    return costs


def _distance(array, reference, places, is_hm) -> float:
    """Of the values, and of the sorted values, which do not depend on where they are."""
    place, number = places[0]
    forms = [np.asarray(reference[number], np.float64)]
    if is_hm:
        forms += [sigmoid(forms[0]), sigmoid(sigmoid(forms[0]))]
    values, found = array[place].astype(np.float64), []
    forms = [form for form in forms if np.isfinite(form).all()]  # a variant may be infinite
    for form in forms:
        differences = (values - form, np.sort(values, axis=None) - np.sort(form, axis=None))
        scale = max(float(form.std()), 1e-6)
        parts = [float(np.sqrt(np.mean(difference**2))) / scale for difference in differences]
        found.append(sum(min(part, _FARTHEST) if np.isfinite(part) else _FARTHEST for part in parts))
    return min(found, default=2 * _FARTHEST)


def _ranked(keys, costs, manifest):
    """(cost of each output, heads in the order of the keys) of every possible order, the best first."""
    best = {}
    for heads, dtype in itertools.product(itertools.permutations(manifest.heads, len(keys)), _DTYPES):
        chosen = [costs[key].get((head, dtype)) for key, head in zip(keys, heads)]
        if all(chosen):
            variants = set.intersection(*map(set, chosen))
            each = min(([distances[name] for distances in chosen] for name in variants), key=sum)
            if heads not in best or sum(each) < sum(best[heads]):
                best[heads] = each
    return sorted(((each, heads) for heads, each in best.items()), key=lambda item: (sum(item[0]), item[1]))


def _is_clear(candidates) -> bool:
    """Whether the best order is clearly better than the second, by the outputs in which they differ."""
    (best, first), (second, other) = candidates[:2]
    disputed = [place for place, (ours, theirs) in enumerate(zip(first, other)) if ours != theirs]
    return _CLEARLY * sum(best[place] for place in disputed) <= sum(second[place] for place in disputed)


def _is_probability(order, found, manifest, references, complete) -> bool:
    """Whether hm fits the sigmoid of the reference better than the reference; without one, whether it is
    within 0 and 1."""
    (key,) = [key for key, head in order.items() if head == 'hm']
    of_reference = reference_positions(manifest, references)
    for position in list(of_reference) + [complete]:
        part = found.parts.get(position, {}).get(key)
        if part is None:
            continue
        try:
            hm = as_head(part, load(part), 'hm', len(manifest.files[position].images), manifest)
        except BadOutput:
            continue
        if hm.min() < 0 or hm.max() > 1:
            return False
        if position not in of_reference:
            return True
        place, number = of_reference[position][0]
        logits = np.asarray(references.outputs[PLAIN]['hm'][number], np.float64)
        return float(np.abs(hm[place] - sigmoid(logits)).mean()) < float(np.abs(hm[place] - logits).mean())
    return False
