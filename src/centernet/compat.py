"""What torch 1.0.0 and torch 2.x do differently. Nothing else in the package asks for a version."""

import inspect

import torch
import torch.nn.functional as F

#: torch's version as a tuple of two integers, e.g. ``(1, 0)``
TORCH_VERSION = tuple(int(part) for part in torch.__version__.split('.')[:2])

#: ``embedding_bag`` weighs its rows (torch >= 1.2), forward and backward
HAS_WEIGHTED_EMBEDDING_BAG = 'per_sample_weights' in inspect.signature(F.embedding_bag).parameters

#: ``torch.load`` can refuse to run code (torch >= 1.13)
HAS_WEIGHTS_ONLY = 'weights_only' in inspect.signature(torch.load).parameters


def weighted_row_sums(table, rows, weights):
    """Weighted sums of a table's rows, differentiable in the table and in the weights.

    Args:
        table: [R, C], float32 or float64.
        rows: int64 [P, k], each in [0, R).
        weights: [P, k], of the table's dtype.

    Returns:
        [P, C], where row p is the sum over k of ``weights[p, k] * table[rows[p, k]]``.
    """
    if HAS_WEIGHTED_EMBEDDING_BAG:
        return F.embedding_bag(rows, table, mode='sum', per_sample_weights=weights)
    total = 0
    for k in range(rows.shape[1]):
        total = total + table.index_select(0, rows[:, k]) * weights[:, k:k + 1]
    return total


def set_threads(threads):
    """Set how many threads the numerical libraries use on the CPU.

    In torch 1.0.0 (the PyPI wheel) this call reaches MKL and nothing else; the convolutions (mkldnn) read OMP_NUM_THREADS when
    torch is imported, and torch's own loops have one thread. Its MKL multiplies matrices several times slower on two threads
    than on one (docs/threads.md), so it gets one whatever is asked for.
    """
    torch.set_num_threads(1 if TORCH_VERSION < (1, 2) else threads)


def use_fast_layout(model):
    """The model with its weights in the order in which its convolutions are fastest (torch >= 1.5: channels last on the CPU)."""
    if hasattr(torch, 'channels_last') and not any(parameter.is_cuda for parameter in model.parameters()):
        return model.to(memory_format=torch.channels_last)
    return model
