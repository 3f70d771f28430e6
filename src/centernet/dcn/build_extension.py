"""How the compiled operator is built: what setup.py hands to setuptools. It is read before the package is
installed, so it imports nothing of it.

One file per build of torch, named after it: environments with different versions share a checkout, and a
library that was built for another version may load and then crash.
"""

import os
import platform
import re
import shutil
import subprocess
import sys

#: The oldest g++: the one of Ubuntu 18.04 is 7.5, and 7.2 is the first whose AVX-512 is complete.
MINIMUM_GCC = (7, 2)

#: Per CUDA toolkit, from which on: the compute capabilities that its nvcc compiles for, of those that torch
#: is used on. The last is also kept as PTX, so that newer devices can run it.
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
    """The operator cannot be compiled here; the message says why and what to do."""


def extension_name(torch_version):
    """The module's name within ``centernet.dcn``, for a version such as ``'2.13.0+cpu'``."""
    return '_torch_' + re.sub(r'\W', '_', str(torch_version))


def check_compiler(command):
    """Refuse a C++ compiler that is missing or too old.

    Raises:
        CannotBuild
    """
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
    # an old g++ knows only one of the two options, and prints the version of that
    version = (int(found.group(1)), int(found.group(2) or 0)) if found else (0, 0)
    if version < MINIMUM_GCC:
        raise CannotBuild(
            '{} is version {}, and the operator needs g++ {}.{} or newer; name another with CXX= and CC='.format(
                path, dumped.strip() or 'unknown', *MINIMUM_GCC
            )
        )


def parse_cuda_version(text):
    """The version in what ``nvcc --version`` prints, or in ``torch.version.cuda``: (major, minor), or
    None."""
    found = re.search(r'release (\d+)\.(\d+)', text or '') or re.match(r'(\d+)\.(\d+)', text or '')
    return (int(found.group(1)), int(found.group(2))) if found else None


def gencode_flags(cuda_version, wanted=None):
    """nvcc's -gencode options for a toolkit.

    Args:
        cuda_version: (major, minor) of the toolkit.
        wanted: a list as in TORCH_CUDA_ARCH_LIST, such as ``'7.5;8.6+PTX'``, instead of all that the toolkit
            compiles for.

    Raises:
        CannotBuild: the toolkit is older than 9.0, or ``wanted`` is not such a list.
    """
    known = [architectures for since, architectures in CUDA_ARCHITECTURES if cuda_version >= since]
    if not known:
        raise CannotBuild('CUDA {}.{} is too old; it has to be 9.0 or newer'.format(*cuda_version))
    items = (
        re.split(r'[;\s]+', wanted.strip())
        if wanted and wanted.strip()
        else list(known[-1][:-1]) + [known[-1][-1] + '+PTX']
    )
    flags = []
    for item in items:
        found = re.match(r'(\d+)\.(\d[a-z]?)(\+PTX)?$', item)
        if not found:
            raise CannotBuild(f"TORCH_CUDA_ARCH_LIST has '{item}'; it is a list such as 7.5;8.6+PTX")
        number = found.group(1) + found.group(2)
        flags.append(f'-gencode=arch=compute_{number},code=sm_{number}')
        if found.group(3):
            flags.append(f'-gencode=arch=compute_{number},code=compute_{number}')
    return flags


def cuda_flags(torch_cuda, cuda_home, environment):
    """nvcc's options, where the operator can be compiled for CUDA.

    Args:
        torch_cuda: ``torch.version.cuda``, None for a build of torch for CPUs.
        cuda_home: the toolkit's folder, or None.
        environment: ``os.environ``.

    Returns:
        A list of options, and None; or None, and why there is no CUDA.
    """
    built_for = parse_cuda_version(torch_cuda)
    if built_for is None:
        return None, 'this torch is a build without CUDA'
    nvcc = os.path.join(cuda_home, 'bin', 'nvcc') if cuda_home else None
    if nvcc is None or not os.path.exists(nvcc):
        return None, 'no nvcc was found (torch is built for CUDA {}.{})'.format(*built_for)
    if not os.path.exists(os.path.join(cuda_home, 'include', 'cuda_runtime_api.h')):
        return (
            None,
            (
                f'{cuda_home} is no whole CUDA toolkit, for it has no include/cuda_runtime_api.h; set'
                ' CUDA_HOME to one'
            ),
        )
    printed = subprocess.run(
        [nvcc, '--version'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
    ).stdout
    toolkit = parse_cuda_version(printed)
    # From 11 on minor versions are compatible. Before, the operator would bring a second CUDA runtime into
    # the process.
    if toolkit is None or toolkit[0] != built_for[0] or (built_for[0] < 11 and toolkit != built_for):
        return None, '{} is CUDA {}, and torch is built for {}.{}'.format(
            nvcc, '.'.join(map(str, toolkit)) if toolkit else 'of an unknown version', *built_for
        )
    return FLAGS[:1] + gencode_flags(toolkit, environment.get('TORCH_CUDA_ARCH_LIST')), None


def make_extension(package_folder='src/centernet/dcn'):
    """The extension module, and the command that builds it.

    Args:
        package_folder: where ``csrc`` is, relative to setup.py.

    Returns:
        (setuptools Extension, build_ext class, a line that says what will be built)

    Raises:
        CannotBuild
    """
    if not sys.platform.startswith('linux'):
        raise CannotBuild(f'the compiled operator is for Linux, and this is {platform.system()}')
    try:
        import torch
        from torch.utils import cpp_extension
    except ImportError:
        raise CannotBuild(
            'torch is not installed yet, or this is an isolated build: install torch first, and then this'
            ' package with pip install --no-build-isolation'
        ) from None
    check_compiler(os.environ.get('CXX', 'g++').split()[0])
    folder = os.path.join(package_folder, 'csrc')
    sources = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith('.cpp'))
    headers = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith('.h'))
    # torch's own OpenMP runtime is in the process already: compiling with OpenMP and not linking another one
    # uses that
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
