"""Installed versions against the lock of the stack, and torch's patches. Imports none of the packages."""

import importlib.util
import os
import re
import site
import sys
from typing import Dict, List, Optional, Set

from ..system.files import sha256
from ..system.versions import normalise

#: stack -> its files in ``requirements``
LOCKS = {'pinned': ['pinned.txt', 'pinned-source.txt'], 'modern': ['modern.txt', 'modern-torch.txt']}
#: packages that only install others
INSTALLERS = {'pip', 'setuptools', 'wheel'}

_ENTRY = re.compile(r'([A-Za-z0-9][\w.-]*)==([^\s;\\]+)\s*(?:;\s*([^\\]+))?')


def stack_name() -> Optional[str]:
    """Return the stack that this Python belongs to, if any."""
    version = sys.version_info[:2]
    return 'pinned' if version == (3, 6) else 'modern' if (3, 9) <= version <= (3, 13) else None


def find_folder(name: str) -> str:
    """Return the folder ``name`` of this checkout, or of the installed package's data files. Raises
    FileNotFoundError."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    checkout = os.path.dirname(os.path.dirname(package))
    shared = [os.path.join(prefix, 'share', 'centernet') for prefix in (sys.prefix, site.USER_BASE) if prefix]
    for folder in [checkout, *shared]:
        if os.path.isdir(os.path.join(folder, name)):
            return os.path.join(folder, name)
    raise FileNotFoundError(f'the folder {name} is not installed; reinstall the package')


def locked_versions(paths: List[str]) -> Dict[str, Set[str]]:
    """Return what locks demand of this interpreter and system: normalised name -> versions."""
    locked = {}  # type: Dict[str, Set[str]]
    for path in paths:
        with open(path, encoding='utf-8') as file:
            for name, version, marker in (match.groups() for match in map(_ENTRY.match, file) if match):
                if normalise(name) not in INSTALLERS and _applies(marker):
                    locked.setdefault(normalise(name), set()).add(version)
    return locked


def unpatched_files(folder: str) -> List[str]:
    """Return the files of the installed torch that differ from ``patched.sha256`` in ``folder``."""
    packages = os.path.dirname(os.path.dirname(importlib.util.find_spec('torch').origin))
    with open(os.path.join(folder, 'patched.sha256')) as file:
        checksums = {path: checksum for checksum, path in map(str.split, file)}
    return [path for path in checksums if sha256(os.path.join(packages, path)) != checksums[path]]


def _applies(marker: Optional[str]) -> bool:
    if marker is None:
        return True
    from packaging.markers import Marker  # in the lock that has markers

    return Marker(marker.strip()).evaluate()
