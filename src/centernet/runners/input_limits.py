"""Which input sizes a network takes."""

from typing import Any, NamedTuple, Optional, Tuple

from ..checkpoint import LoadedModel
from ..models import divisor


class InputLimits(NamedTuple):
    """Sizes in pixels, (height, width).

    ``step``: both sides are multiples of it. ``fixed``: the only size that an ONNX file takes, or None.
    ``stored``: the size that the file records as its own, or None.
    """

    step: int = 32
    fixed: Optional[Tuple[int, int]] = None
    stored: Optional[Tuple[int, int]] = None


def limits_of(loaded: LoadedModel) -> InputLimits:
    """The limits of a checkpoint's network."""
    return InputLimits(divisor(loaded.arch), None, stored_size(loaded.checkpoint.meta.get('input_size')))


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
