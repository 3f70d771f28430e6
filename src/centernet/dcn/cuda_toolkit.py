"""The CUDA toolkit that the operator is compiled with: finding it, checking it, nvcc's options.

build_extension.py loads this file before the package is installed, so it imports nothing from it.
"""

import os
import re
import subprocess
import tempfile
from typing import List, Mapping, NamedTuple, Optional, Sequence, Tuple

#: Compute capabilities to compile for, by the oldest CUDA toolkit that supports them. The last one is also
#: included as PTX, so that newer devices can run it.
CUDA_ARCHITECTURES = (
    ((9, 0), ('3.5', '5.0', '6.0', '6.1', '7.0')),
    ((10, 0), ('3.5', '5.0', '6.0', '6.1', '7.0', '7.5')),
    ((11, 0), ('3.5', '5.0', '6.0', '6.1', '7.0', '7.5', '8.0')),
    ((11, 1), ('3.5', '5.0', '6.0', '6.1', '7.0', '7.5', '8.0', '8.6')),
    ((11, 8), ('5.0', '6.0', '6.1', '7.0', '7.5', '8.0', '8.6', '9.0')),
    ((12, 8), ('5.0', '6.0', '7.0', '7.5', '8.0', '8.6', '9.0', '10.0', '12.0')),
    ((13, 0), ('7.5', '8.0', '8.6', '9.0', '10.0', '11.0', '12.0')),
)
#: The names of generations that torch takes in TORCH_CUDA_ARCH_LIST, beside 'Common' and 'All'.
CUDA_GENERATIONS = {
    'kepler': '3.5+PTX',
    'maxwell': '5.0;5.2+PTX',
    'pascal': '6.0;6.1+PTX',
    'volta': '7.0+PTX',
    'turing': '7.5+PTX',
    'ampere': '8.0;8.6+PTX',
    'ada': '8.9+PTX',
    'hopper': '9.0+PTX',
    'blackwell': '10.0;12.0+PTX',
}
#: What the operator includes from the toolkit. nvcc compiles it to see whether the toolkit is complete.
PROBE = """#include <cuda_runtime.h>
#include <cuda_fp16.h>
__global__ void probe(__half *x) { *x = __float2half(__half2float(*x)); }
"""
#: The Python package that provides a part of the toolkit, by what the compilers say when it is missing.
PACKAGES = (
    (r'\bnv/target|\bcuda/std|\bcub/|\bthrust/', 'nvidia-cuda-cccl'),
    (r'\bcrt/', 'nvidia-cuda-crt'),
    (r'\bcicc\b|libdevice', 'nvidia-nvvm'),
    (r'\bptxas|fatbinary|cudafe', 'nvidia-cuda-nvcc'),
    (r'\bcuda_(runtime|fp16)|cudart', 'nvidia-cuda-runtime'),
)


class NoCuda(Exception):
    """The operator cannot be compiled for CUDA; the message gives the reason."""


class OtherToolkit(NoCuda):
    """There is no toolkit for torch's version of CUDA."""


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
        NoCuda: the toolkit is older than 9.0, or ``wanted`` is invalid.
    """
    known = [architectures for since, architectures in CUDA_ARCHITECTURES if cuda_version >= since]
    if not known:
        raise NoCuda('CUDA {}.{} is too old; 9.0 or newer is needed'.format(*cuda_version))
    everything = ';'.join(known[-1]) + '+PTX'
    items = []
    for item in re.split(r'[;\s]+', (wanted or '').strip() or 'all'):
        name, _, ptx = item.lower().partition('+')
        named = everything if name in ('all', 'common') else CUDA_GENERATIONS.get(name)
        if named is None or ptx not in ('', 'ptx'):
            items.append(item)
        else:
            items += named.split(';')
    flags = []
    for item in items:
        found = re.match(r'(\d+)\.(\d[a-z]?)(\+PTX)?$', item)
        if not found:
            raise NoCuda(
                f"invalid '{item}' in TORCH_CUDA_ARCH_LIST; it must be a list such as 7.5;8.6+PTX, or Turing"
            )
        number = found.group(1) + found.group(2)
        flags.append(f'-gencode=arch=compute_{number},code=sm_{number}')
        if found.group(3):
            flags.append(f'-gencode=arch=compute_{number},code=compute_{number}')
    return flags


class Toolkit(NamedTuple):
    """A CUDA toolkit that fits torch."""

    home: str
    #: nvcc's options
    flags: List[str]
    #: what to link for the CUDA runtime
    runtime: str


def find_toolkit(
    torch_cuda: str, found_by_torch: Optional[str], environment: Mapping[str, str], path: Sequence[str] = ()
) -> Optional[str]:
    """Return the folder of a CUDA toolkit, or None.

    Args:
        torch_cuda: ``torch.version.cuda``.
        found_by_torch: what torch finds: CUDA_HOME, CUDA_PATH, that of nvcc on PATH, or /usr/local/cuda.
        environment: ``os.environ``. CUDA_HOME or CUDA_PATH decides.
        path: folders of Python packages, in which nvidia-cuda-nvcc and the others are searched. They share a
            folder since CUDA 13.
    """
    folders = [found_by_torch] if found_by_torch else []
    if not (environment.get('CUDA_HOME') or environment.get('CUDA_PATH')):
        # nvcc on PATH may be a link or a script that is not in its toolkit
        folders.append('/usr/local/cuda')
        folders += [os.path.join(each, 'nvidia', f'cu{parse_cuda_version(torch_cuda)[0]}') for each in path]
    folders = [folder for folder in folders if os.path.exists(os.path.join(folder, 'bin', 'nvcc'))]
    whole = [each for each in folders if os.path.exists(os.path.join(each, 'include', 'cuda_runtime_api.h'))]
    return next(iter(whole + folders), None)


def check_toolkit(home: str, torch_cuda: str, environment: Mapping[str, str]) -> Toolkit:
    """Check that the operator can be compiled with a CUDA toolkit: its version, a few lines of code, and the
    CUDA runtime, which is linked.

    Args:
        home: the toolkit's folder, with ``bin/nvcc``.
        torch_cuda: ``torch.version.cuda``.
        environment: ``os.environ``.

    Raises:
        OtherToolkit: it is for another version of CUDA than torch's.
        NoCuda: it is incomplete, does not work with this compiler, or cannot compile for the capabilities
            in TORCH_CUDA_ARCH_LIST.
    """
    nvcc = os.path.join(home, 'bin', 'nvcc')
    built_for, toolkit = parse_cuda_version(torch_cuda), parse_cuda_version(_run([nvcc, '--version'])[1])
    # Minor versions are compatible from 11 on. Before, the operator would load a second CUDA runtime.
    if toolkit is None or toolkit[0] != built_for[0] or (built_for[0] < 11 and toolkit != built_for):
        raise OtherToolkit(
            '{} is CUDA {}, but torch is built for {}.{}'.format(
                nvcc, '.'.join(map(str, toolkit)) if toolkit else 'of an unknown version', *built_for
            )
        )
    flags = ['-O3'] + gencode_flags(toolkit, environment.get('TORCH_CUDA_ARCH_LIST'))
    host = (environment.get('CXX') or environment.get('CC') or '').split()
    if host:
        flags += ['-ccbin', host[0]]  # compile the host's part with the compiler of the other files
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, 'probe.cu')
        with open(source, 'w') as file:
            file.write(PROBE)
        status, printed = _run([nvcc, '-c', source, '-o', os.path.join(folder, 'probe.o')] + flags)
    if status:
        raise NoCuda(f'{nvcc} fails: {first_error(printed)}')
    if not os.path.exists(os.path.join(home, 'include', 'cuda_runtime_api.h')):
        raise NoCuda(f'{home} has no include/cuda_runtime_api.h; set CUDA_HOME to the folder of the toolkit')
    libraries = []
    for name in ('lib64', 'lib'):
        folder = os.path.join(home, name)
        libraries += os.listdir(folder) if os.path.isdir(folder) else []
    runtimes = sorted(name for name in libraries if name.startswith('libcudart.so'))
    if not runtimes:
        # The linker may know more folders. Without this, all would be compiled before it fails.
        linker = (environment.get('CXX') or 'g++').split() + environment.get('LDFLAGS', '').split()
        with tempfile.TemporaryDirectory() as folder:
            status, printed = _run([*linker, '-shared', '-o', os.path.join(folder, 'probe.so'), '-lcudart'])
        if status:
            raise NoCuda(f'{home} has no libcudart: {first_error(printed)}')
    # Python packages have only the name with the version, which -lcudart does not find
    plain = not runtimes or 'libcudart.so' in runtimes
    return Toolkit(home, flags, 'cudart' if plain else ':' + runtimes[0])


def first_error(printed: str) -> str:
    """Return the first error that a compiler printed, and the Python package with what is missing."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    wrong = re.compile(r'\berror\b|\bfatal\b|not found|cannot find|No such file|unsupported', re.IGNORECASE)
    line = next(filter(wrong.search, lines), (lines or ['no message'])[-1])
    line = re.sub(r'.*?(?=(fatal )?error\b)', '', line, count=1, flags=re.IGNORECASE)[:200]
    if re.search(r'not found|(cannot|unable to) find|No such file|Could not open', line, re.IGNORECASE):
        package = next((package for pattern, package in PACKAGES if re.search(pattern, line)), None)
        line += f' (in the Python package {package})' if package else ''
    return line


def _run(command: List[str]) -> Tuple[int, str]:
    """Return a program's exit status and what it printed; status 1 and the reason if it cannot be run."""
    try:
        run = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
        )
    except OSError as error:
        return 1, f'error: {error}'
    return run.returncode, run.stdout
