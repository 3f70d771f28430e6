"""A ``.pth`` file -> state dict -> network, without running code from the file."""

from .fitting import LoadedModel, load_model
from .reader import Checkpoint, read_checkpoint

__all__ = ['Checkpoint', 'LoadedModel', 'load_model', 'read_checkpoint']
