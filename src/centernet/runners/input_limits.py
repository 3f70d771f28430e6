"""What a network's file says of its input: sizes and normalization."""

import json
from typing import Any, Mapping, NamedTuple, Optional, Tuple

from ..checkpoint import LoadedModel
from ..detection import Normalization
from ..detection.normalization import of_numbers
from ..models import divisor
from ..onnxfile.loading import LARGEST_SIDE
from .recorded import recorded_normalization, recorded_size, stored_size


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
    return InputLimits(divisor(loaded.arch), None, recorded_size(meta), recorded_normalization(meta))


def metadata_size(metadata: Mapping[str, str]) -> Optional[Tuple[int, int]]:
    """The size in an ONNX file's metadata, ``input_size`` in JSON; None if there is none."""
    size = stored_size(_read(metadata, 'input_size'))
    return size if size and max(size) <= LARGEST_SIDE else None


def metadata_normalization(metadata: Mapping[str, str]) -> Optional[Normalization]:
    """The normalization in an ONNX file's metadata, ``mean`` and ``std`` in JSON; None if there is none."""
    return of_numbers(_read(metadata, 'mean'), _read(metadata, 'std'))


def _read(metadata: Mapping[str, str], key: str) -> Any:
    try:
        return json.loads(metadata.get(key, ''))
    except (ValueError, RecursionError):
        return None
