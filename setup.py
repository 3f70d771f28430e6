"""Compile the deformable convolution; everything else about the package is in setup.cfg.

If it cannot be compiled for CUDA, it is compiled for the CPU. If that fails, too, the package is installed
without it and uses plain torch, which is slower. With CENTERNET_DCN=compiled both are errors instead;
CENTERNET_DCN=reference skips compiling.
"""

import os
import sys

from setuptools import setup

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'src', 'centernet', 'kernels'))
from build_extension import CannotBuild, make_extension

choice = os.environ.get('CENTERNET_DCN')
options = {}
if choice != 'reference':
    try:
        extension, command = make_extension()
        options = {'ext_modules': [extension], 'cmdclass': {'build_ext': command}}
    except CannotBuild as reason:
        if choice == 'compiled':
            sys.exit(f'error: CENTERNET_DCN=compiled, but the operator cannot be compiled: {reason}')
        print(f'warning: installing without the compiled operator: {reason}')

setup(**options)
