"""The fuzz targets by name. A target is a module with

- ``NAME``; ``prepare(folder)``, once; ``make(draw, folder, canary)`` -> case, a path: writes the input, with
  ``draw`` (random.Random) alone to decide; code that comes from it would make the folder ``canary``;
- ``run(case)``: the code under test;
- ``allowance(case)``: how many bytes of address space it may take.
"""

import importlib

NAMES = ['checkpoint', 'annotations', 'onnx']


def load_target(name):
    return importlib.import_module('fuzz_' + name)
