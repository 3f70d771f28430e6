"""How the compiled operator is built: the extension for setup.py.

setup.py loads this file before the package is installed, so it imports nothing from it. The library is named
after the build of torch: environments with different versions share a checkout, and a library built for
another version may load and then crash.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from typing import Any, List, Mapping, Optional, Tuple

#: The oldest supported g++: 7.2 is the first with complete AVX-512. Ubuntu 18.04 has 7.5.
MINIMUM_GCC = (7, 2)

#: Compute capabilities to compile for, by the oldest CUDA toolkit that supports them. The last one is also
#: included as PTX, so that newer devices can run it.
CUDA_ARCHITECTURES = (
    ((9, 0), ('3.5', '5.0', '6.0', '6.1', '7.0')),
    ((10, 0), ('3.5', '5.0', '6.0', '6.1', '7.0', '7.5')),
    ((11, 0), ('3.5', '5.0', '6.0', '6.1', '7.0', '7.5', '8.0')),
    ((11, 1), ('3.5', '5.0', '6.0', '6.1', '7.0', '7.5', '8.0', '8.6')),
    ((11, 8), ('5.0', '6.0', '6.1', '7.0', '7.5', '8.0', '8.6', '9.0')),
    ((12, 8), ('5.0', '6.0', '7.0', '7.5', '8.0', '8.6', '9.0', '10.0', '12.0')),
    ((13, 0), ('7.5', '8.0', '8.6', '9.0', '10.0', '12.0')),
)

FLAGS = ['-O3', '-fno-math-errno', '-fno-trapping-math']


class CannotBuild(Exception):
    """The operator cannot be compiled here; the message gives the reason and a remedy."""


def extension_name(torch_version: str) -> str:
    """Return the module's name in ``centernet.dcn`` for a version of torch such as ``'2.13.0+cpu'``."""
    return '_torch_' + re.sub(r'\W', '_', str(torch_version))


def check_compiler(command: str) -> None:
    """Raise CannotBuild if the C++ compiler is missing or too old."""
    path = shutil.which(command)
    if path is None:
        raise CannotBuild(
            'no C++ compiler: {} is not on PATH; install g++ {}.{} or newer'.format(command, *MINIMUM_GCC)
        )
    described = subprocess.run(
        [path, '--version'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
    ).stdout
    if 'clang' in described.lower():
        return
    dumped = subprocess.run(
        [path, '-dumpfullversion', '-dumpversion'],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    ).stdout
    found = re.match(r'(\d+)(?:\.(\d+))?', dumped.strip())
    # an old g++ supports only one of the two options
    version = (int(found.group(1)), int(found.group(2) or 0)) if found else (0, 0)
    if version < MINIMUM_GCC:
        raise CannotBuild(
            '{} is version {}, but the operator needs g++ {}.{} or newer; set CXX and CC'.format(
                path, dumped.strip() or 'unknown', *MINIMUM_GCC
            )
        )


def parse_cuda_version(text: Optional[str]) -> Optional[Tuple[int, int]]:
    """Return (major, minor) from the output of ``nvcc --version`` or from ``torch.version.cuda``, or None."""
    found = re.search(r'release (\d+)\.(\d+)', text or '') or re.match(r'(\d+)\.(\d+)', text or '')
    return (int(found.group(1)), int(found.group(2))) if found else None


def gencode_flags(cuda_version: Tuple[int, int], wanted: Optional[str] = None) -> List[str]:
    """Return nvcc's -gencode options for a toolkit.

    Args:
        cuda_version: (major, minor) of the toolkit.
        wanted: a list in the format of TORCH_CUDA_ARCH_LIST, such as ``'7.5;8.6+PTX'``; by default all
            capabilities that the toolkit supports.

    Raises:
        CannotBuild: the toolkit is older than 9.0, or ``wanted`` is invalid.
    """
    known = [architectures for since, architectures in CUDA_ARCHITECTURES if cuda_version >= since]
    if not known:
        raise CannotBuild('CUDA {}.{} is too old; 9.0 or newer is needed'.format(*cuda_version))
    items = (
        re.split(r'[;\s]+', wanted.strip())
        if wanted and wanted.strip()
        else list(known[-1][:-1]) + [known[-1][-1] + '+PTX']
    )
    flags = []
    for item in items:
        found = re.match(r'(\d+)\.(\d[a-z]?)(\+PTX)?$', item)
        if not found:
            raise CannotBuild(
                f"invalid '{item}' in TORCH_CUDA_ARCH_LIST; it must be a list such as 7.5;8.6+PTX"
            )
        number = found.group(1) + found.group(2)
        flags.append(f'-gencode=arch=compute_{number},code=sm_{number}')
        if found.group(3):
            flags.append(f'-gencode=arch=compute_{number},code=compute_{number}')
    return flags


def cuda_flags(
    torch_cuda: Optional[str], cuda_home: Optional[str], environment: Mapping[str, str]
) -> Tuple[Optional[List[str]], Optional[str]]:
    """Return nvcc's options if the operator can be compiled for CUDA.

    Args:
        torch_cuda: ``torch.version.cuda``; None if torch is built without CUDA.
        cuda_home: the toolkit's folder, or None.
        environment: ``os.environ``.

    Returns:
        The options and None, or None and the reason why CUDA is unavailable.
    """
    built_for = parse_cuda_version(torch_cuda)
    if built_for is None:
        return None, 'this torch is built without CUDA'
    nvcc = os.path.join(cuda_home, 'bin', 'nvcc') if cuda_home else None
    if nvcc is None or not os.path.exists(nvcc):
        return None, 'no nvcc was found (torch is built for CUDA {}.{})'.format(*built_for)
    if not os.path.exists(os.path.join(cuda_home, 'include', 'cuda_runtime_api.h')):
        return (
            None,
            f'{cuda_home} is not a complete CUDA toolkit (no include/cuda_runtime_api.h); set CUDA_HOME',
        )
    printed = subprocess.run(
        [nvcc, '--version'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
    ).stdout
    toolkit = parse_cuda_version(printed)
    # Minor versions are compatible from 11 on. Before, the operator would load a second CUDA runtime.
    if toolkit is None or toolkit[0] != built_for[0] or (built_for[0] < 11 and toolkit != built_for):
        return None, '{} is CUDA {}, but torch is built for {}.{}'.format(
            nvcc, '.'.join(map(str, toolkit)) if toolkit else 'of an unknown version', *built_for
        )
    return FLAGS[:1] + gencode_flags(toolkit, environment.get('TORCH_CUDA_ARCH_LIST')), None


def make_extension(package_folder: str = 'src/centernet/dcn') -> Tuple[Any, Any, str]:
    """Return the setuptools Extension, its build_ext class, and a line that describes it.

    Args:
        package_folder: the folder that contains ``csrc``, relative to setup.py.

    Raises:
        CannotBuild: the platform, torch or the compiler is unsuitable.
    """
    if not sys.platform.startswith('linux'):
        raise CannotBuild(f'the compiled operator supports Linux, not {platform.system()}')
    try:
        import torch
        from torch.utils import cpp_extension
    except ImportError:
        raise CannotBuild(
            'torch is not installed, or this is an isolated build: install torch, then this package with'
            ' pip install --no-build-isolation'
        ) from None
    check_compiler(os.environ.get('CXX', 'g++').split()[0])
    folder = os.path.join(package_folder, 'csrc')
    sources = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith('.cpp'))
    headers = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith('.h'))
    # Compile with OpenMP but link no runtime: torch's own is already loaded.
    arguments = {'cxx': FLAGS + ['-fopenmp'], 'nvcc': []}
    nvcc_flags, why_not = cuda_flags(torch.version.cuda, cpp_extension.CUDA_HOME, os.environ)
    kind, macros = cpp_extension.CppExtension, []
    if nvcc_flags is not None:
        kind, macros = cpp_extension.CUDAExtension, [('DCN_CUDA', None)]
        sources.append(os.path.join(folder, 'cuda.cu'))
        arguments['nvcc'] = nvcc_flags
    name = 'centernet.dcn.' + extension_name(torch.__version__)
    extension = kind(name, sources, depends=headers, define_macros=macros, extra_compile_args=arguments)
    extension.optional = os.environ.get('CENTERNET_DCN') != 'compiled'
    return (
        extension,
        cpp_extension.BuildExtension,
        'compiled operator for torch {}: CPU{}'.format(
            torch.__version__, ' and CUDA' if why_not is None else ' only, because ' + why_not
        ),
    )
