"""What a checkpoint records of its training besides the weights: input size and normalization."""

import contextlib
from typing import Any, Iterator, List, Mapping, Optional, Tuple

from ..detection import Normalization
from ..detection.normalization import of_numbers, parse_normalization
from ..errors import OptionError

#: entries under which training scripts keep their options, and mmcv what it stores beside the weights
_OPTIONS = ('opt', 'args', 'config', 'cfg', 'hyper_parameters', 'meta')
#: of the input; mean and std also as mmcv and detectron2 call them
_SIZES = ('input_size', 'input_res', 'input_h', 'input_w')
_NORMALIZATIONS = ('normalization', 'mean', 'std', 'img_norm_cfg', 'pixel_mean', 'pixel_std')


def places(meta: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The entries of a checkpoint, and the options among them."""
    yield meta
    for name in _OPTIONS:
        if isinstance(meta.get(name), dict):
            yield meta[name]


def recorded_size(meta: Mapping[str, Any]) -> Optional[Tuple[int, int]]:
    """The (height, width) that a checkpoint records: ``input_size``, ``[height, width]`` or one number, or
    CenterNet's ``input_h`` and ``input_w``, or ``input_res``. None without such an entry."""
    for place in places(meta):
        stored = stored_size(place.get('input_size'))
        if stored is None and isinstance(place.get('input_size'), list):
            stored = stored_size(place['input_size'][-2:]) if len(place['input_size']) in (3, 4) else None
        single = place.get('input_size', place.get('input_res'))
        for size in (
            stored,
            stored_size([place.get('input_h'), place.get('input_w')]),
            stored_size([single] * 2),
        ):
            if size is not None:
                return size
    return None


def stored_size(value: Any) -> Optional[Tuple[int, int]]:
    """A size as a file records it, ``[height, width]``; None for anything else, since anybody can write the
    entry."""
    if (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(type(side) is int and side > 0 for side in value)
    ):
        return value[0], value[1]
    return None


def recorded_normalization(meta: Mapping[str, Any]) -> Optional[Normalization]:
    """The normalization that a checkpoint records: ``normalization`` (as ``--normalization`` takes it), or
    ``mean`` and ``std`` (blue, green, red), among its entries or in the options of its training, as
    CenterNet's ``opt`` has them. None without such an entry, or if it is not understood."""
    for place in places(meta):
        named = place.get('normalization')
        if isinstance(named, str):
            with contextlib.suppress(OptionError):
                return parse_normalization(named)
        if isinstance(named, list) and len(named) == 2:
            named = dict(zip(('mean', 'std'), named))
        for numbers in (named, place):
            found = isinstance(numbers, dict) and of_numbers(numbers.get('mean'), numbers.get('std'))
            if found:
                return found
    return None


def notes_on_records(meta: Mapping[str, Any]) -> List[str]:
    """A line for each entry about the input that is not understood, and so ignored."""
    notes = []
    for what, keys, found in (
        ('an input size', _SIZES, recorded_size(meta)),
        ('a normalization in blue, green, red', _NORMALIZATIONS, recorded_normalization(meta)),
    ):
        given = [
            key for place in places(meta) for key in keys if key in place and place[key] not in (-1, None)
        ]
        if given and found is None:
            notes.append(f'the entry {given[0]} is ignored: it is not understood as {what}')
    return notes
