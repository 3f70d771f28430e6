"""Networks behind one interface: a float32 batch in, heads or boxes out.

A runner is any object with

- ``runner(images)``: float32 array [N, 3, H, W] -> :class:`~centernet.detection.Heads`, float32 tensors on
  any device. It returns when the result is complete, so that the caller can time it. A runner whose network
  has a decoder (``decodes`` is true) returns :class:`~centernet.detection.RawBoxes` instead;
- ``classes``: channels of its heat map;
- ``class_names``: their names, or None if they are not known;
- ``identity()``: plain dict of what decides its output (kind, architecture, hash of the weights, ...), which
  ``--resume`` compares;
- ``describe()``: plain dict for people and metrics.json (paths, device, ...).

:func:`centernet.evaluation.evaluate` takes any of them.
"""

from .factory import open_runner

__all__ = ['open_runner']
