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
import tempfile
from typing import Any, Callable, Mapping, Optional, Tuple

try:
    from .cuda_toolkit import NoCuda, OtherToolkit, Toolkit, check_toolkit, find_toolkit, first_error
except ImportError:  # in setup.py
    from cuda_toolkit import NoCuda, OtherToolkit, Toolkit, check_toolkit, find_toolkit, first_error

#: The oldest supported g++: 7.2 is the first with complete AVX-512. Ubuntu 18.04 has 7.5.
MINIMUM_GCC = (7, 2)

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


def choose_cuda(
    torch_cuda: Optional[str], found_by_torch: Optional[str], environment: Mapping[str, str]
) -> Tuple[Optional[Toolkit], Optional[str]]:
    """Return the toolkit to compile for CUDA with, or None and the reason why there will be no CUDA.

    Args:
        torch_cuda: ``torch.version.cuda``; None if torch is built without CUDA.
        found_by_torch: the folder of the toolkit that torch finds, or None.
        environment: ``os.environ``.

    Raises:
        CannotBuild: CENTERNET_DCN=compiled, and there is a toolkit for torch's version of CUDA, but it cannot
            be used.
    """
    if not torch_cuda:
        return None, 'this torch is built without CUDA'
    home = find_toolkit(torch_cuda, found_by_torch, environment, sys.path)
    if home is None:
        return None, f'no nvcc was found (torch is built for CUDA {torch_cuda})'
    try:
        return check_toolkit(home, torch_cuda, environment), None
    except OtherToolkit as error:
        return None, str(error)
    except NoCuda as error:
        if environment.get('CENTERNET_DCN') == 'compiled':
            raise CannotBuild(str(error)) from None
        return None, str(error)


def make_extension(package_folder: str = 'src/centernet/dcn') -> Tuple[Any, Any]:
    """Return the setuptools Extension and its build_ext class.

    If compiling for CUDA fails, the class compiles for the CPU alone; with CENTERNET_DCN=compiled it exits.
    When it is done, it prints a line on what it compiled. The reason for a missing CUDA is also in the
    operator.

    Args:
        package_folder: the folder that contains ``csrc``, relative to setup.py.

    Raises:
        CannotBuild: the platform, torch or the compiler is unsuitable, or see :func:`choose_cuda`.
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
    insists = os.environ.get('CENTERNET_DCN') == 'compiled'
    toolkit, why_not = choose_cuda(torch.version.cuda, cpp_extension.CUDA_HOME, os.environ)
    folder = os.path.join(package_folder, 'csrc')
    sources = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith('.cpp'))
    options = {
        'depends': sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith('.h')),
        # Compile with OpenMP but link no runtime: torch's own is already loaded.
        'extra_compile_args': {'cxx': FLAGS + ['-fopenmp'], 'nvcc': toolkit.flags if toolkit else []},
    }
    name = 'centernet.dcn.' + extension_name(torch.__version__)

    def for_cpu(reason: str) -> Any:
        macros = [('DCN_WITHOUT_CUDA', '"{}"'.format(re.sub(r'[^\w ./:+=,;()<>-]', "'", reason)))]
        extension = cpp_extension.CppExtension(name, sources, define_macros=macros, **options)
        extension.optional = not insists
        return extension

    if toolkit is None:
        extension = for_cpu(why_not)
    else:
        cpp_extension.CUDA_HOME = toolkit.home
        extension = cpp_extension.CUDAExtension(
            name, sources + [os.path.join(folder, 'cuda.cu')], define_macros=[('DCN_CUDA', None)], **options
        )
        extension.libraries = [toolkit.runtime if each == 'cudart' else each for each in extension.libraries]
    command = _build_ext(
        cpp_extension.BuildExtension, None if insists else for_cpu, torch.__version__, why_not
    )
    return extension, command


def _build_ext(
    base: Any, for_cpu: Optional[Callable[[str], Any]], torch_version: str, why_not: Optional[str]
) -> Any:
    """Return the build_ext class; ``for_cpu(reason)`` makes the extension to fall back to, None to exit."""

    class BuildOperator(base):
        def build_extensions(self) -> None:
            reason = why_not
            if reason is None:
                reason = self.build_for_cuda()
                if reason is not None and for_cpu is None:
                    sys.exit(f'error: CENTERNET_DCN=compiled, but compiling for CUDA fails: {reason}')
            if reason is not None:
                if why_not is None:
                    # setuptools has prepared the extension, so it keeps its identity
                    (extension,) = self.extensions
                    vars(extension).update(
                        (name, value)
                        for name, value in vars(for_cpu(reason)).items()
                        if name not in ('name', 'py_limited_api')
                    )
                    # torch's wrappers of the compiler are around it already
                    for method in ('_compile', 'compile'):
                        vars(self.compiler).pop(method, None)
                super().build_extensions()
            print(
                f'compiled operator for torch {torch_version}: CPU'
                + (' and CUDA' if reason is None else f' only, because {reason}')
            )

        def build_for_cuda(self) -> Optional[str]:
            """Compile, and show what the compilers print; return the reason if that fails."""
            with tempfile.TemporaryFile() as log:
                failure = _with_output_to(log.fileno(), super().build_extensions)
                log.seek(0)
                printed = log.read().decode('utf-8', 'replace')
            print(printed)
            return failure and first_error(f'{printed}\nerror: {failure}')

    return BuildOperator


def _with_output_to(file: int, function: Callable[[], None]) -> Optional[str]:
    """Call a function with its output, and that of its programs, in a file; return how it fails, or None."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
        function()
    except Exception as error:  # whatever it is, the CPU's operator can still be built
        return f'{type(error).__name__}: {error}'
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, copy in zip((1, 2), saved):
            os.dup2(copy, descriptor)
            os.close(copy)
    return None
