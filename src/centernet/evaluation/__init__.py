"""Evaluate a network on a data set: detections, figures and times, in one loop for every kind of runner."""

from ..errors import Interrupted
from ..runners.torch_runner import TorchRunner
from .eval_options import EvalOptions
from .loop import evaluate
from .summary import Evaluation, format_report

__all__ = ['EvalOptions', 'Evaluation', 'Interrupted', 'TorchRunner', 'evaluate', 'format_report']
