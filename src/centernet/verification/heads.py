"""Stage ``heads``: compare the outputs of two networks for the same images, value by value."""

from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from ..detection import Heads
from ..errors import NotFiniteError, OutputsError, ShapeError
from . import tolerances

#: relative differences divide by at least this share of the head's scale; near 0 they would be meaningless
_RELATIVE_FLOOR = 1e-3


class Figures(NamedTuple):
    """Statistics of non-negative numbers."""

    max: float
    mean: float
    median: float
    p99: float

    @classmethod
    def of(cls, values: Sequence[float]) -> 'Figures':
        """Return the figures of an array of any shape; all 0 for an empty one."""
        values = np.asarray(values, np.float64).ravel()
        if not values.size:
            return cls(0.0, 0.0, 0.0, 0.0)
        median, p99 = np.percentile(values, [50, 99])
        return cls(float(values.max()), float(values.mean()), float(median), float(p99))


class HeadComparison(NamedTuple):
    """One output of two networks over some images; true if the largest difference is within the tolerance.

    Attributes:
        shape: of the output over all images.
        scale: the largest absolute value of the reference.
        absolute: the differences.
        relative: the differences divided by the reference's value, or by a thousandth of the scale if larger.
        limit: for ``absolute.max``.
        correlation: of the two outputs; None if one is constant. It tells a different model (near 0) from an
            inexact one (near 1).
    """

    name: str
    shape: Tuple[int, ...]
    scale: float
    absolute: Figures
    relative: Figures
    limit: float
    correlation: Optional[float]

    def __bool__(self) -> bool:
        return self.absolute.max <= self.limit


class HeadsComparison(NamedTuple):
    """All outputs of two networks over ``images`` images; true if each of them is."""

    images: int
    heads: List[HeadComparison]

    def __bool__(self) -> bool:
        return all(self.heads)


def compare_heads(
    reference: Sequence[Union[Heads, Mapping]], candidate: Sequence[Union[Heads, Mapping]]
) -> HeadsComparison:
    """Compare two networks' outputs for the same batches, by name.

    Args:
        reference, candidate: per batch, Heads or a mapping from names to arrays or tensors.

    Returns:
        HeadsComparison, with the outputs in the reference's order.

    Raises:
        OutputsError: there is nothing to compare, or the candidate lacks an output.
        ShapeError: the shapes of an output differ.
        NotFiniteError: an output contains infinities or NaNs.
    """
    if not reference or len(reference) != len(candidate):
        raise OutputsError(f'nothing to compare: {len(reference)} batches against {len(candidate)}')
    pairs = [(_arrays(first), _arrays(second)) for first, second in zip(reference, candidate)]
    ours, others = pairs[0]
    if not set(ours) & set(others):
        raise OutputsError(f'no common outputs: {_list(ours)} in PyTorch, {_list(others)} in the file')
    missing = [name for name in ours if name not in others]
    if missing:
        raise OutputsError(f'output {_list(missing)} is missing from the file, which has {_list(others)}')
    images = sum(len(next(iter(first.values()))) for first, _ in pairs)
    return HeadsComparison(images, [_compare(name, pairs) for name in ours])


def _compare(name, pairs):
    for first, second in pairs:
        if first[name].shape != second[name].shape:
            raise ShapeError(
                f'output {name} has shape {list(second[name].shape)} in the file and'
                f' {list(first[name].shape)} in PyTorch'
            )
    ours, others = (np.concatenate([pair[side][name].ravel() for pair in pairs]) for side in (0, 1))
    for whose, values in (('the PyTorch model', ours), ('the file', others)):
        wrong = values.size - int(np.isfinite(values).sum())
        if wrong:
            raise NotFiniteError(f'output {name} of {whose} has {wrong} values that are infinite or NaN')
    scale = float(np.abs(ours).max())
    difference = np.abs(ours.astype(np.float64) - others)
    relative = difference / np.maximum(np.abs(ours), max(_RELATIVE_FLOOR * scale, np.finfo(np.float32).tiny))
    return HeadComparison(
        name=name,
        shape=(sum(len(first[name]) for first, _ in pairs),) + pairs[0][0][name].shape[1:],
        scale=scale,
        absolute=Figures.of(difference),
        relative=Figures.of(relative),
        limit=tolerances.HEADS.limit * scale,
        correlation=_correlation(ours, others),
    )


def _correlation(ours, others):
    """Return Pearson's coefficient, or None."""
    ours, others = (values - values.mean() for values in (ours.astype(np.float64), others.astype(np.float64)))
    spread = float(np.sqrt(np.dot(ours, ours)) * np.sqrt(np.dot(others, others)))
    return float(np.dot(ours, others)) / spread if spread > 0 else None


def _arrays(heads) -> Dict[str, np.ndarray]:
    named = heads._asdict() if isinstance(heads, Heads) else heads  # reg may be None
    return {
        name: np.asarray(value.detach().cpu() if hasattr(value, 'detach') else value, np.float32)
        for name, value in named.items()
        if value is not None
    }


def _list(names):
    return ', '.join(names) or 'none'
