"""A data set through a network: detections, figures, times. One loop for every kind of runner."""

from .loop import Evaluation, Interrupted, evaluate
from .options import EvalOptions
from .report import format_report
from .runners import TorchRunner

__all__ = ['EvalOptions', 'Evaluation', 'Interrupted', 'TorchRunner', 'evaluate', 'format_report']
