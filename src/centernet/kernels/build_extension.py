"""How the compiled operator is built: the extension for setup.py.

setup.py loads this file before the package is installed, so it imports nothing from it. The library is named
after the build of torch: environments with different versions share a checkout, and a library built for
another version may load and then crash.
"""

import glob
import os
import platform
import re
import shutil
import subprocess
import sys
from typing import Any, Callable, List, Optional, Tuple

FLAGS = ['-O3', '-fno-math-errno', '-fno-trapping-math']


class CannotBuild(Exception):
    """The operator cannot be compiled here, or not for CUDA; the message gives the reason."""


def extension_name(torch_version: str) -> str:
    """Return the module's name in ``centernet.kernels`` for a version of torch such as ``'2.13.0+cpu'``."""
    return '_torch_' + re.sub(r'\W', '_', str(torch_version))


def _output_of(*command: str) -> str:
    """What a program prints; '' if it cannot be run."""
    try:
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
        ).stdout
    except OSError:
        return ''


def _version_in(pattern: str, text: str) -> Tuple[int, int]:
    """The (major, minor) behind a pattern, (0, 0) if it is not there."""
    found = re.search(pattern + r'(\d+)(?:\.(\d+))?', text)
    return (int(found.group(1)), int(found.group(2) or 0)) if found else (0, 0)


def check_compiler(command: str) -> None:
    """Raise CannotBuild if the C++ compiler is missing."""
    if shutil.which(command) is None:
        raise CannotBuild(f'no C++ compiler: {command} is not on PATH; install g++ 7.2 or newer, or set CXX')


def find_toolkit(torch_cuda: str, found_by_torch: Optional[str]) -> Tuple[str, Tuple[int, int]]:
    """Return the folder and the version of the CUDA toolkit to compile with.

    Args:
        torch_cuda: ``torch.version.cuda``.
        found_by_torch: torch's CUDA_HOME. Without one, the Python packages nvidia-cuda-nvcc and others are
            searched, which share a folder since CUDA 13.

    Raises:
        CannotBuild: there is no toolkit, or it is for another version of CUDA than torch.
    """
    wanted = _version_in('^', torch_cuda)
    found = found_by_torch or ''
    homes = [found, os.path.join(found, 'cuda')] + [
        os.path.join(each, 'nvidia', f'cu{wanted[0]}') for each in sys.path
    ]
    homes = [each for each in homes if os.path.exists(os.path.join(each, 'bin', 'nvcc'))]
    if not homes:
        raise CannotBuild(f'no nvcc was found (torch is built for CUDA {torch_cuda})')
    # /usr/local/bin/nvcc may be a script that starts that of /usr/local/cuda, beside which the headers are
    header = os.path.join('include', 'cuda_runtime_api.h')
    home = next((each for each in homes if os.path.exists(os.path.join(each, header))), homes[0])
    nvcc = os.path.join(home, 'bin', 'nvcc')
    version = _version_in('release ', _output_of(nvcc, '--version'))
    # Minor versions are compatible from 11 on. Before, the operator would load a second CUDA runtime.
    if version[0] != wanted[0] or (wanted[0] < 11 and version != wanted):
        raise CannotBuild('{} is CUDA {}.{}, but torch is built for {}.{}'.format(nvcc, *version, *wanted))
    return home, version


def nvcc_flags(version: Tuple[int, int], architectures: str = '', compiler: str = '') -> List[str]:
    """Return nvcc's options.

    Args:
        version: of the toolkit.
        architectures: TORCH_CUDA_ARCH_LIST, which torch's own build turns into options. Without one: code for
            the first GPU of every generation, which the others of it run, and PTX for those to come.
        compiler: CXX or CC; it also compiles the host's part of CUDA files.
    """
    flags = ['-O3'] + (['-ccbin', compiler.split()[0]] if compiler.strip() else [])
    if architectures.strip():
        return flags
    if version >= (11, 5):
        return flags + ['-arch=all-major']
    codes = ['35', '50', '60', '70']
    flags += [f'-gencode=arch=compute_{code},code=sm_{code}' for code in codes]
    return flags + [f'-gencode=arch=compute_{codes[-1]},code=compute_{codes[-1]}']


def make_extension(package_folder: str = 'src/centernet/kernels') -> Tuple[Any, Any]:
    """Return the setuptools Extension and its build_ext class.

    If compiling for CUDA fails, the class compiles for the CPU alone; with CENTERNET_DCN=compiled it exits.
    When it is done, it prints a line on what it compiled. The reason for a missing CUDA is also in the
    operator.

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
            'no torch: install it, then this package with pip install --no-build-isolation'
        ) from None
    environment = os.environ
    check_compiler(environment.get('CXX', 'g++').split()[0])
    insists = environment.get('CENTERNET_DCN') == 'compiled'
    folder = os.path.join(package_folder, 'csrc')
    sources = sorted(glob.glob(os.path.join(folder, '*.cpp')))
    name = 'centernet.kernels.' + extension_name(torch.__version__)
    # Compile with OpenMP but link no runtime: torch's own is already loaded.
    options = {
        'depends': sorted(glob.glob(os.path.join(folder, '*.h'))),
        'extra_compile_args': {'cxx': FLAGS + ['-fopenmp'], 'nvcc': []},
    }

    def for_cpu(reason: str) -> Any:
        macros = [('DCN_WITHOUT_CUDA', '"{}"'.format(re.sub(r'[^\w ./:+=,;()<>-]', "'", reason)))]
        extension = cpp_extension.CppExtension(name, sources, define_macros=macros, **options)
        extension.optional = not insists
        return extension

    why_not = None
    try:
        if not torch.version.cuda:
            raise CannotBuild('this torch is built without CUDA')
        home, version = find_toolkit(torch.version.cuda, cpp_extension.CUDA_HOME)
        listed = environment.get('TORCH_CUDA_ARCH_LIST', '')
        if not hasattr(cpp_extension, '_get_cuda_arch_flags'):
            listed = ''
        compiler = environment.get('CXX') or environment.get('CC') or ''
        options['extra_compile_args']['nvcc'] = nvcc_flags(version, listed, compiler)
        cpp_extension.CUDA_HOME = home
        extension = cpp_extension.CUDAExtension(
            name, sources + [os.path.join(folder, 'cuda.cu')], define_macros=[('DCN_CUDA', None)], **options
        )
        # Python packages have only the name with the version, which -lcudart does not find
        runtimes = sorted(os.path.basename(each) for each in glob.glob(home + '/lib*/libcudart.so*'))
        if runtimes and runtimes[0] != 'libcudart.so':
            names = extension.libraries
            extension.libraries = [':' + runtimes[0] if each == 'cudart' else each for each in names]
    except CannotBuild as error:
        why_not = str(error)
        extension = for_cpu(why_not)
    return extension, _build_ext(
        cpp_extension.BuildExtension, None if insists else for_cpu, torch.__version__, why_not
    )


def _build_ext(
    base: Any, for_cpu: Optional[Callable[[str], Any]], torch_version: str, why_not: Optional[str]
) -> Any:
    """Return the build_ext class; ``for_cpu(reason)`` makes the extension to fall back to, None to exit."""

    class BuildOperator(base):
        def build_extensions(self) -> None:
            reason = why_not
            if reason is None:
                try:
                    super().build_extensions()
                except Exception as error:  # whatever it is, the CPU's operator can still be built
                    reason = f'compiling for CUDA fails: {error}'
                    if for_cpu is None:
                        sys.exit(f'error: CENTERNET_DCN=compiled, but {reason}')
                    # setuptools has prepared the extension, so it keeps its identity
                    (extension,) = self.extensions
                    changed = vars(for_cpu(reason))
                    vars(extension).update((key, changed[key]) for key in changed if key not in _PREPARED)
                    # torch's wrappers of the compiler are around it already
                    for method in ('_compile', 'compile'):
                        vars(self.compiler).pop(method, None)
            if reason is not None:
                super().build_extensions()
            built = f'CPU only, because {reason}' if reason else 'CPU and CUDA'
            print(f'compiled operator for torch {torch_version}: {built}')

    return BuildOperator


_PREPARED = ('name', 'py_limited_api')
