"""What made a result: the versions of what decides the figures, and the revision of the source."""

import os
import platform
import subprocess
from typing import Dict, Optional

import cv2
import numpy as np
import torch

from . import __version__


def versions() -> Dict[str, Optional[str]]:
    """Versions of what decides the figures, and the git revision where it is known."""
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
    """The commit that this package's source is checked out from, with ``-dirty`` if src differs from it.
    Elsewhere what CENTERNET_REVISION says, which the image sets when it was built with one, or None."""
    package = os.path.dirname(os.path.abspath(__file__))
    if not _git(
        package, 'ls-files', '__init__.py'
    ):  # installed: the repository around, if any, is somebody else's
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
