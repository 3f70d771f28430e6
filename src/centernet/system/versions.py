"""What produced a result: versions of packages, and the revision of the source.

Imports other packages only inside :func:`versions`, so that it works where they are broken.
"""

import glob
import os
import platform
import re
import subprocess
import sys
from typing import Dict, Optional

from ..version import __version__


def versions() -> Dict[str, Optional[str]]:
    """Return the versions of everything that affects the metrics, and the git revision, None if unknown."""
    import cv2
    import numpy as np
    import torch

    return {
        'centernet': __version__,
        'git': git_revision(),
        'python': platform.python_version(),
        'torch': torch.__version__,
        'numpy': np.__version__,
        'opencv': cv2.__version__,
        'pycocotools': installed_versions().get('pycocotools'),  # it has no __version__
    }


def installed_versions() -> Dict[str, str]:
    """Return the versions of all installed packages, as the names of their metadata's folders give them:
    name, in the spelling of :func:`normalise` -> version."""
    found = {}  # type: Dict[str, str]
    for folder in map(glob.escape, sys.path):
        for path in sorted(glob.glob(os.path.join(folder, '*-*.*-info'))):  # dist-info or egg-info
            name, version = os.path.splitext(os.path.basename(path))[0].split('-')[:2]
            found.setdefault(normalise(name), version)
    return found


def normalise(name: str) -> str:
    """Return a package's name with hyphens, in small letters."""
    return re.sub(r'[-_.]+', '-', name).lower()


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
