"""The first stage: what the two networks say of the same images, value by value."""

from typing import Dict, List, NamedTuple, Tuple

import numpy as np

from ..detection import Heads
from . import tolerances
from .errors import NotFiniteError, OutputsError, ShapeError

#: a relative difference is taken to this share of the head's scale at least: next to 0 it would say nothing
_RELATIVE_FLOOR = 1e-3


class Figures(NamedTuple):
    """Some non-negative numbers in four."""

    max: float
    mean: float
    median: float
    p99: float

    @classmethod
    def of(cls, values: np.ndarray) -> 'Figures':
        """Figures of an array of any shape; all 0 of an empty one."""
        values = np.asarray(values, np.float64).ravel()
        if not values.size:
            return cls(0.0, 0.0, 0.0, 0.0)
        median, p99 = np.percentile(values, [50, 99])
        return cls(float(values.max()), float(values.mean()), float(median), float(p99))


class HeadComparison(NamedTuple):
    """One output of two networks over some images; true where the largest difference is within the tolerance.

    ``scale``: the largest absolute value of the reference. ``absolute`` and ``relative``: of the differences;
    relative to the reference's value, or to a thousandth of the scale where that is larger. ``limit``: for
    ``absolute.max``. ``correlation``: of the two outputs' values, None where one is constant; it tells a
    different model (near 0) from an inexact one (near 1).
    """

    name: str
    shape: Tuple[int, ...]
    scale: float
    absolute: Figures
    relative: Figures
    limit: float
    correlation: float

    def __bool__(self) -> bool:
        return self.absolute.max <= self.limit


class HeadsComparison(NamedTuple):
    """All outputs; true where each of them is. ``images``: how many were compared."""

    images: int
    heads: List[HeadComparison]

    def __bool__(self) -> bool:
        return all(self.heads)


def compare_heads(reference: List[Heads], candidate: List[Heads]) -> HeadsComparison:
    """Compare two networks' outputs for the same batches, by name.

    Args:
        reference, candidate: for each batch the heads, or dicts of arrays or tensors by name.

    Returns:
        HeadsComparison, with the outputs in the reference's order.

    Raises:
        OutputsError: there is nothing to compare, or an output of the reference is missing.
        ShapeError: an output has another shape than the reference's.
        NotFiniteError: an output of either is infinite or not a number.
    """
    if not reference or len(reference) != len(candidate):
        raise OutputsError(
            f'{len(reference)} batches of the one, {len(candidate)} of the other: there is nothing to compare'
        )
    pairs = [(_arrays(first), _arrays(second)) for first, second in zip(reference, candidate)]
    ours, others = pairs[0]
    if not set(ours) & set(others):
        raise OutputsError(f'no common outputs: {_list(ours)} here, {_list(others)} there')
    missing = [name for name in ours if name not in others]
    if missing:
        raise OutputsError(f'the output {_list(missing)} is missing; there {_list(others)}')
    return HeadsComparison(
        sum(len(next(iter(first.values()))) for first, _ in pairs), [_compare(name, pairs) for name in ours]
    )


def _compare(name, pairs):
    for first, second in pairs:
        if first[name].shape != second[name].shape:
            raise ShapeError(
                f'output {name} has the shape {list(second[name].shape)} where the PyTorch model gives'
                f' {list(first[name].shape)}'
            )
    ours, others = (np.concatenate([pair[side][name].ravel() for pair in pairs]) for side in (0, 1))
    for whose, values in (('the PyTorch model', ours), ('the model', others)):
        wrong = values.size - int(np.isfinite(values).sum())
        if wrong:
            raise NotFiniteError(f'{whose} gives {wrong} values in {name} that are infinite or not a number')
    scale = float(np.abs(ours).max())
    difference = np.abs(ours.astype(np.float64) - others)
    relative = difference / np.maximum(np.abs(ours), max(_RELATIVE_FLOOR * scale, np.finfo(np.float32).tiny))
    shape = (sum(len(first[name]) for first, _ in pairs),) + pairs[0][0][name].shape[1:]
    return HeadComparison(
        name,
        shape,
        scale,
        Figures.of(difference),
        Figures.of(relative),
        tolerances.HEADS.limit * scale,
        _correlation(ours, others),
    )


def _correlation(ours, others):
    """Pearson's coefficient, or None."""
    ours, others = (values - values.mean() for values in (ours.astype(np.float64), others.astype(np.float64)))
    spread = float(np.sqrt(np.dot(ours, ours)) * np.sqrt(np.dot(others, others)))
    return float(np.dot(ours, others)) / spread if spread > 0 else None


def _arrays(heads) -> Dict[str, np.ndarray]:
    named = heads._asdict() if isinstance(heads, Heads) else heads
    return {
        name: np.asarray(value.detach().cpu() if hasattr(value, 'detach') else value, np.float32)
        for name, value in named.items()
    }


def _list(names):
    return ', '.join(names) or 'none'
