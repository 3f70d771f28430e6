"""What produced a result: library versions and the revision of the source."""

import os
import platform
import subprocess
from typing import Dict, Optional

import cv2
import numpy as np
import torch

from . import __version__


def versions() -> Dict[str, Optional[str]]:
    """Return the versions of everything that affects the figures, and the git revision, None if unknown."""
    return {
        'centernet': __version__,
        'git': git_revision(),
        'python': platform.python_version(),
        'torch': torch.__version__,
        'numpy': np.__version__,
        'opencv': cv2.__version__,
        'pycocotools': _pycocotools_version(),
    }


def git_revision() -> Optional[str]:
    """Return the commit of this checkout, followed by ``-dirty`` if the package has uncommitted changes.

    Outside a checkout, return the environment variable CENTERNET_REVISION (the image sets it), or None.
    """
    package = os.path.dirname(os.path.abspath(__file__))
    if not _git(package, 'ls-files', '__init__.py'):  # installed; any repository around it is unrelated
        return os.environ.get('CENTERNET_REVISION') or None
    revision = _git(package, 'rev-parse', 'HEAD')
    changed = _git(package, 'status', '--porcelain', '--untracked-files=no', '--', '.')
    return revision + '-dirty' if revision and changed else revision


def _git(folder, *arguments):
    try:
        run = subprocess.run(
            ('git', '-C', folder) + arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.decode('utf-8', 'replace').strip() if run.returncode == 0 else None


def _pycocotools_version():
    try:
        from importlib.metadata import version  # novm
    except ImportError:  # Python 3.7 and older
        from pkg_resources import get_distribution

        return get_distribution('pycocotools').version
    return version('pycocotools')
