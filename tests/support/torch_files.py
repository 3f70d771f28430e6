"""The two files of torch 1.0.0 that patches/torch-1.0.0 is about, as they are here and as they were."""

import importlib.util
import os
import shutil
import subprocess

import pytest

from centernet.system.files import sha256

PATCHES = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, 'patches', 'torch-1.0.0'
)
#: module -> its file, below site-packages
FILES = {
    'torch.autograd.function': 'torch/autograd/function.py',
    'torch.onnx.symbolic': 'torch/onnx/symbolic.py',
}


def installed():
    """The folder that holds the package torch, and torch's version as its own file says; nothing is
    imported."""
    folder = os.path.dirname(importlib.util.find_spec('torch').origin)
    said = {}
    with open(os.path.join(folder, 'version.py')) as file:
        exec(file.read(), said)
    return os.path.dirname(folder), said['__version__']


SITE, VERSION = installed()
needs_torch_100 = pytest.mark.skipif(
    VERSION != '1.0.0',
    reason=f'the patches are for torch 1.0.0, the pinned stack, and this is torch {VERSION}',
)
needs_patch = pytest.mark.skipif(shutil.which('patch') is None, reason="the program 'patch' is not installed")


def series():
    with open(os.path.join(PATCHES, 'series')) as file:
        return file.read().split()


def checksums(name):
    """file -> SHA-256, as ``original.sha256`` or ``patched.sha256`` says."""
    with open(os.path.join(PATCHES, name)) as file:
        return {path: checksum for checksum, path in (line.split() for line in file)}


def restore_original(folder):
    """Copy the files into ``folder``, and take the patches back there."""
    folder = str(folder)
    for path in FILES.values():
        os.makedirs(os.path.dirname(os.path.join(folder, path)), exist_ok=True)
        shutil.copyfile(os.path.join(SITE, path), os.path.join(folder, path))
    for patch in reversed(series()):
        subprocess.run(
            [
                'patch',
                '-R',
                '-p1',
                '--quiet',
                '-d',
                folder,
                '-i',
                os.path.join(os.path.abspath(PATCHES), patch),
            ],
            check=True,
        )
    assert {path: sha256(os.path.join(folder, path)) for path in FILES.values()} == checksums(
        'original.sha256'
    )
    return folder
