"""Installed packages against the lock of the stack, and torch's patches."""

import importlib.util
import os
import re
import site
import sys
from email.parser import HeaderParser

from ..files import sha256
from .findings import MISSING, OK, WARNING, Finding

#: Python's version -> (stack, its locks, as they are called in requirements/); other versions have none
STACKS = {(3, 6): ('pinned', ('pinned.txt', 'pinned-source.txt'))}
STACKS.update({(3, minor): ('modern', ('modern.txt', 'modern-torch.txt')) for minor in range(9, 14)})
#: what installs packages changes no result
INSTALLERS = {'pip', 'setuptools', 'wheel'}

_ENTRY = re.compile(r'([A-Za-z0-9][A-Za-z0-9._-]*)==([^ ;\\]+)\s*(?:;\s*([^\\]*?)\s*)?(?:\\|$)')


def check_lock(folder=None):
    """The installed versions against those in the lock; ``folder`` is where the lock lies, None looks for
    it."""
    stack, names = STACKS.get(sys.version_info[:2], (None, ()))
    if stack is None:
        return [
            Finding(
                'lock',
                WARNING,
                'Python {}.{} has no lock'.format(*sys.version_info[:2]),
                'the pinned stack is Python 3.6, the modern one 3.9 to 3.13',
            )
        ]
    folder = folder or find_shared('requirements', names[0])
    if folder is None:
        return [
            Finding(
                'lock',
                WARNING,
                f'the lock of the {stack} stack was not found, so versions are not compared',
                'install this package anew, or run it from a checkout',
            )
        ]
    installed, wanted = distributions(sys.path), {}
    for name in names:
        for package, versions in read_lock(os.path.join(folder, name)).items():
            if package not in INSTALLERS:
                wanted.setdefault(package, set()).update(versions)
    differing = [
        {'name': name, 'installed': installed.get(name), 'locked': sorted(versions)}
        for name, versions in sorted(wanted.items())
        if _release(installed.get(name)) not in versions
    ]
    details = {
        'stack': stack,
        'folder': folder,
        'differing': differing,
        'installed': {name: installed.get(name) for name in sorted(wanted)},
    }
    if not differing:
        return [
            Finding(
                'lock',
                OK,
                f'all {len(wanted)} packages of the {stack} stack have the versions of {folder}',
                details=details,
            )
        ]
    text = ', '.join(
        '{} {} ({})'.format(
            item['name'], item['installed'] or 'is not installed', ' or '.join(item['locked'])
        )
        for item in differing
    )
    return [
        Finding(
            'lock',
            MISSING,
            f'{len(differing)} of {len(wanted)} packages differ from {folder}: {text}',
            'results may differ from the documented ones; make venv, or the image, has the locked versions',
            details,
        )
    ]


def check_torch_patches(folder=None):
    """Whether torch 1.0.0 is patched; no finding on another torch. ``folder`` has patched.sha256, None looks
    for it."""
    found = importlib.util.find_spec('torch')
    if found is None or not found.origin:
        return []
    packages = os.path.dirname(os.path.dirname(found.origin))
    if distributions([packages]).get('torch') != '1.0.0':
        return []
    folder = folder or find_shared(os.path.join('patches', 'torch-1.0.0'), 'patched.sha256')
    if folder is None:
        return [
            Finding(
                'torch patches',
                WARNING,
                'the list of checksums was not found, so they are not checked',
                'install this package anew, or run it from a checkout',
            )
        ]
    states = {}
    for state in ('original', 'patched'):
        with open(os.path.join(folder, state + '.sha256')) as file:
            for checksum, path in (line.split() for line in file):
                if sha256(os.path.join(packages, path)) == checksum:
                    states[path] = state
                states.setdefault(path, 'altered')
    details = {'packages': packages, 'files': states}
    wrong = [
        '{} is {}'.format(
            path, 'not patched' if state == 'original' else 'neither the original nor the patched one'
        )
        for path, state in sorted(states.items())
        if state != 'patched'
    ]
    if not wrong:
        return [
            Finding('torch patches', OK, 'applied to {}'.format(', '.join(sorted(states))), details=details)
        ]
    return [
        Finding(
            'torch patches',
            WARNING,
            '; '.join(wrong),
            f'models of your own may not export: run patches/torch-1.0.0/apply.sh {sys.executable}',
            details,
        )
    ]


def find_shared(folder, name):
    """The folder of the checkout that this package runs from, or else of its installed files, that has the
    file ``name``; or None."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    checkout = os.path.dirname(os.path.dirname(package))
    places = [
        os.path.join(prefix, 'share', 'centernet')
        for prefix in (sys.prefix, getattr(site, 'USER_BASE', None))
        if prefix
    ]
    for place in ([checkout] if os.path.isfile(os.path.join(checkout, 'setup.cfg')) else []) + places:
        if os.path.isfile(os.path.join(place, folder, name)):
            return os.path.join(place, folder)
    return None


def read_lock(path):
    """A lock's packages: normalized name -> set of versions that it wants on this interpreter and system."""
    with open(path, encoding='utf-8') as file:
        lines = file.read().splitlines()
    wanted = {}
    for name, version, marker in (match.groups() for match in map(_ENTRY.match, lines) if match):
        if not marker or _applies(marker):
            wanted.setdefault(_normalize(name), set()).add(version)
    return wanted


def distributions(paths):
    """What is installed in the folders ``paths``, by the metadata there: normalized name -> version. The
    first of a name counts."""
    found = {}
    for path in paths:
        try:
            names = sorted(os.listdir(path or '.'))
        except OSError:  # a zip file, or not there
            continue
        for name in names:
            metadata = {'.dist-info': 'METADATA', '.egg-info': 'PKG-INFO'}.get(os.path.splitext(name)[1])
            if metadata is None:
                continue
            try:
                with open(os.path.join(path, name, metadata), encoding='utf-8', errors='replace') as file:
                    headers = HeaderParser().parse(file)
            except OSError:
                continue
            if headers['Name'] and headers['Version']:
                found.setdefault(_normalize(headers['Name']), headers['Version'])
    return found


def _applies(marker):
    from packaging.markers import Marker  # in the lock that has markers

    return Marker(marker).evaluate()


def _normalize(name):
    return re.sub(r'[-_.]+', '-', name).lower()


def _release(version):
    """Without what says which build it is: 2.13.0+cpu -> 2.13.0."""
    return version and version.split('+')[0]
