"""A data set through a network: detections, figures, times. One loop for every kind of runner."""

from ..errors import Interrupted
from ..runners.torch_runner import TorchRunner
from .loop import Evaluation, evaluate
from .options import EvalOptions
from .summary import format_report

__all__ = ['EvalOptions', 'Evaluation', 'Interrupted', 'TorchRunner', 'evaluate', 'format_report']
