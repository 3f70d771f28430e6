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
