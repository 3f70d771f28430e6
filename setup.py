"""Everything about the package is in setup.cfg; here is only what needs code to say: the compiled operator.

CENTERNET_DCN=reference installs without it. CENTERNET_DCN=compiled stops where it cannot be built; otherwise
the package is then installed without it, and says at its first use that it is slower.
"""

import os
import sys

from setuptools import setup

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'src', 'centernet', 'dcn'))
from build_extension import CannotBuild, make_extension

options = {}
if os.environ.get('CENTERNET_DCN') != 'reference':
    try:
        extension, command, described = make_extension()
        options = {'ext_modules': [extension], 'cmdclass': {'build_ext': command}}
        print(described)
    except CannotBuild as reason:
        if os.environ.get('CENTERNET_DCN') == 'compiled':
            sys.exit(f'error: CENTERNET_DCN=compiled, and the compiled operator cannot be built: {reason}')
        print(f'installing without the compiled operator: {reason}')

setup(**options)
