"""Stage ``heads``: compare the outputs of two networks for the same images, value by value."""

from typing import Any, Dict, Mapping, Sequence

import numpy as np

from ..system.errors import NotFiniteError, OutputsError, ShapeError
from . import tolerances
from .stages import Stage, at_most

#: relative differences divide by at least this share of the head's scale; near 0 they would be meaningless
_RELATIVE_FLOOR = 1e-3


def statistics(values: Any) -> Dict[str, float]:
    """Return ``max``, ``mean``, ``median`` and ``p99`` of non-negative numbers; all 0 if there are none."""
    values = np.asarray(values, np.float64).ravel() if np.size(values) else np.zeros(1)
    median, p99 = np.percentile(values, [50, 99])
    return dict(max=float(values.max()), mean=float(values.mean()), median=float(median), p99=float(p99))


def compare_heads(reference: Sequence[Mapping], candidate: Sequence[Mapping]) -> Stage:
    """Compare two networks' outputs for the same batches, by name.

    Args:
        reference, candidate: per batch, a mapping from names to arrays or tensors [N, channels, h, w].

    Returns:
        A Stage with a check of each output, in the reference's order: its largest difference. Its facts are
        ``images``, their number, and ``heads``, by name:
        ``shape`` over all images; ``scale``, the largest absolute value of the reference; ``absolute`` and
        ``relative``, the :func:`statistics` of the differences, divided by the reference's value, or by a
        thousandth of the scale if larger; ``limit``; ``correlation`` of the two outputs, which tells a
        different model (near 0) from an inexact one (near 1), None if one is constant; and ``passed``.

    Raises:
        OutputsError: the candidate lacks an output.
        ShapeError: the shapes of an output differ.
        NotFiniteError: an output contains infinities or NaNs.
    """
    pairs = [(_arrays(first), _arrays(second)) for first, second in zip(reference, candidate)]
    ours, others = pairs[0]
    missing = [name for name in ours if name not in others]
    if missing:
        raise OutputsError(
            f'the file has no output {", ".join(missing)}, but {", ".join(others) or "others"}'
        )
    checks, heads = [], {}
    for name in ours:
        found = _compare(name, pairs)
        checks.append(at_most(name, found['absolute']['max'], found['limit']))
        heads[name] = dict(found, passed=checks[-1].passed)
    images = sum(len(next(iter(first.values()))) for first, _ in pairs)
    return Stage('heads', checks, {'images': images, 'heads': heads})


def _compare(name, pairs):
    for first, second in pairs:
        if first[name].shape != second[name].shape:
            raise ShapeError(f'output {name} is {list(second[name].shape)}, not {list(first[name].shape)}')
    ours, others = (np.concatenate([pair[side][name].ravel() for pair in pairs]) for side in (0, 1))
    for whose, values in (('the PyTorch model', ours), ('the file', others)):
        wrong = values.size - int(np.isfinite(values).sum())
        if wrong:
            raise NotFiniteError(f'output {name} of {whose} has {wrong} values that are infinite or NaN')
    scale = float(np.abs(ours).max())
    difference = np.abs(ours.astype(np.float64) - others)
    relative = difference / np.maximum(np.abs(ours), max(_RELATIVE_FLOOR * scale, np.finfo(np.float32).tiny))
    return {
        'shape': (sum(len(first[name]) for first, _ in pairs),) + pairs[0][0][name].shape[1:],
        'scale': scale,
        'absolute': statistics(difference),
        'relative': statistics(relative),
        'limit': tolerances.HEADS.limit * scale,
        'correlation': _correlation(ours, others),
    }


def _correlation(ours, others):
    """Return Pearson's coefficient, or None."""
    ours, others = (values - values.mean() for values in (ours.astype(np.float64), others.astype(np.float64)))
    spread = float(np.sqrt(np.dot(ours, ours)) * np.sqrt(np.dot(others, others)))
    return float(np.dot(ours, others)) / spread if spread > 0 else None


def _arrays(outputs):
    return {
        name: np.asarray(value.detach().cpu() if hasattr(value, 'detach') else value, np.float32)
        for name, value in outputs.items()
        if value is not None  # a network without reg
    }
