"""What a network's file says of its input: sizes and normalization."""

import contextlib
import json
from typing import Any, Mapping, NamedTuple, Optional, Tuple

from ..checkpoint import LoadedModel
from ..detection import Normalization
from ..detection.normalization import of_numbers, parse_normalization
from ..errors import OptionError
from ..models import divisor
from ..onnxfile.loading import LARGEST_SIDE

# entries of a checkpoint under which training scripts keep their options
_OPTIONS = ('opt', 'args', 'config', 'cfg', 'hyper_parameters')


class InputLimits(NamedTuple):
    """Sizes in pixels, (height, width).

    ``step``: both sides are multiples of it. ``fixed``: the only size that an ONNX file takes, or None.
    ``stored``: the size that the file records as its own, or None. ``normalization``: the one that it
    records, or None.
    """

    step: int = 32
    fixed: Optional[Tuple[int, int]] = None
    stored: Optional[Tuple[int, int]] = None
    normalization: Optional[Normalization] = None


def limits_of(loaded: LoadedModel) -> InputLimits:
    """The limits of a checkpoint's network."""
    meta = loaded.checkpoint.meta
    return InputLimits(
        divisor(loaded.arch), None, stored_size(meta.get('input_size')), recorded_normalization(meta)
    )


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
    CenterNet's ``opt`` has them. None without such an entry.

    A standard deviation above 3 is of pixels from 0 to 255.
    """
    for place in [meta] + [meta.get(name) for name in _OPTIONS]:
        if not isinstance(place, Mapping):
            continue
        named = place.get('normalization')
        if isinstance(named, str):
            with contextlib.suppress(OptionError):
                return parse_normalization(named)
        for numbers in (named, place):
            found = (
                of_numbers(numbers.get('mean'), numbers.get('std')) if isinstance(numbers, Mapping) else None
            )
            if found is not None:
                scale = 255 if max(found.std) > 3 else 1
                return Normalization(*(tuple(value / scale for value in part) for part in found))
    return None


def metadata_size(metadata: Mapping[str, str]) -> Optional[Tuple[int, int]]:
    """The size in an ONNX file's metadata, ``input_size`` in JSON; None if there is none."""
    try:
        size = stored_size(json.loads(metadata.get('input_size', '')))
    except (ValueError, RecursionError):
        return None
    return size if size and max(size) <= LARGEST_SIDE else None


def metadata_normalization(metadata: Mapping[str, str]) -> Optional[Normalization]:
    """The normalization in an ONNX file's metadata, ``mean`` and ``std`` in JSON; None if there is none."""
    try:
        return of_numbers(json.loads(metadata.get('mean', '')), json.loads(metadata.get('std', '')))
    except (ValueError, RecursionError):
        return None
