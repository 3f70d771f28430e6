"""The device and the number of threads that the network runs on.

Torch is imported only inside functions: the OpenMP runtime reads its environment variables once, when torch
is imported, so a command calls :func:`prepare_threads` before that and :func:`apply_threads` after it. The
measurements behind the choices are in docs/performance.md.
"""

import ctypes
import glob
import logging
import os
import re
import sys
import warnings
from typing import TYPE_CHECKING, Dict, Optional, Tuple

from .errors import DeviceError, OptionError

if TYPE_CHECKING:
    import torch

#: exists where the NVIDIA driver is loaded, also inside containers on such a machine
DRIVER = '/proc/driver/nvidia/version'
#: the device files of the GPUs that a container was given
GPU_FILES = '/dev/nvidia[0-9]*'
#: torch for CUDA 10 and older has no code for this compute capability and newer
_FIRST_UNSUPPORTED_CAPABILITY = (8, 0)

_log = logging.getLogger(__name__)
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # from malloc.h


def parse_device(name: str) -> Tuple[str, Optional[int]]:
    """Split the value of ``--device`` into its kind and the GPU's number.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns:
        ``'auto'``, ``'cpu'`` or ``'cuda'``, and N, which is None if no number is given.

    Raises:
        DeviceError: the name is none of these.
    """
    match = re.match(r'(?:(auto|cpu|cuda)|cuda:([0-9]+))\Z', name)
    if not match:
        raise DeviceError(f"unknown device '{name}': expected auto, cpu, cuda or cuda:N")
    return match.group(1) or 'cuda', None if match.group(2) is None else int(match.group(2))


def resolve_device(name: str = 'auto') -> 'torch.device':
    """Return a device that torch can compute on.

    ``auto`` and ``cuda`` select the first GPU. If it is missing or unusable, ``auto`` falls back to the CPU
    and logs the reason, unless there is neither a GPU nor a driver nor a container.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DeviceError: the name is unknown, or the GPU is missing or unusable.
    """
    import torch

    kind, index = parse_device(name)
    if kind == 'cpu':
        return torch.device('cpu')
    reason = why_no_gpu()
    worth_a_line = reason is None or os.path.exists(DRIVER) or _in_image()
    reason = reason or why_unusable(index or 0)
    if reason is None:
        return torch.device('cuda', index or 0)
    if kind == 'cuda':
        raise DeviceError(f'device {name} is unavailable: {reason}; --device cpu needs no GPU')
    if worth_a_line:
        _log.warning('%s; using the CPU', reason)
    return torch.device('cpu')


def describe_device(device: 'torch.device') -> Dict[str, str]:
    """Describe a device for people: ``device`` and ``device_name``; for a GPU also ``cuda`` (the version) and
    ``capability``."""
    import torch

    if device.type == 'cuda':
        return {
            'device': str(device),
            'device_name': torch.cuda.get_device_name(device),
            'cuda': torch.version.cuda,
            'capability': '{}.{}'.format(*torch.cuda.get_device_capability(device)),
        }
    return {'device': str(device), 'device_name': _cpu_facts().get('model name', 'unknown')}


def available_cpus() -> int:
    """Return the number of cores that this process may use, at least 1.

    Hardware threads of one core count once, because they share the units that convolutions are limited by.
    The affinity mask (``taskset``, ``docker --cpuset-cpus``) and the cgroup's quota (``docker --cpus``,
    rounded down) are respected.
    """
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # macOS
        return os.cpu_count() or 1
    cores = {
        _read(f'/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list') or str(cpu)
        for cpu in allowed
    }
    return max(1, min(len(cores), int(_cgroup_cpus())))


def prepare_threads(threads: Optional[int] = None) -> int:
    """Set the environment variables of the numerical libraries. Call it before torch is imported.

    Args:
        threads: how many threads the network may use; None for ``OMP_NUM_THREADS`` if set, else all available
            cores.

    Returns:
        The number of threads, for :func:`apply_threads`.

    Raises:
        OptionError: the number is smaller than 1.
    """
    if threads is None:
        given = os.environ.get('OMP_NUM_THREADS', '').split(',')[0].strip()
        threads = int(given) if given.isdigit() and int(given) else available_cpus()
    if threads < 1:
        raise OptionError(f'--threads must be at least 1, not {threads}')
    if 'torch' not in sys.modules:
        os.environ['OMP_NUM_THREADS'] = str(threads)
        # Threads that wait for the others sleep, after a few microseconds: waking them at every layer would
        # take a sixth of the time. By default they spin for milliseconds, on cores that the others may need.
        if 'OMP_WAIT_POLICY' not in os.environ:
            os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'
            os.environ.setdefault('GOMP_SPINCOUNT', '1000')
    if _is_amd_with_avx2():
        # On other processors than Intel's, the MKL in torch 1.0.0 uses SSE unless told to use AVX2. SSE code
        # is slow, and six times slower still on a second thread where mkldnn has left AVX registers dirty.
        # MKL reads this at its first call; newer versions ignore it.
        os.environ.setdefault('MKL_DEBUG_CPU_TYPE', '5')
    return threads


def apply_threads(threads: int) -> None:
    """Set the number of threads of torch and OpenCV, and keep freed memory in this process. Imports torch."""
    import cv2

    from .compat import set_threads

    set_threads(threads)
    cv2.setNumThreads(threads)
    _keep_freed_memory()


def _in_image() -> bool:
    """Whether this is a container of this project's image."""
    return bool(os.environ.get('CENTERNET_CONTAINER'))


def why_no_gpu() -> Optional[str]:
    """Why torch sees no GPU at all; None if it sees one."""
    import torch

    if os.environ.get('CENTERNET_CUDA') == 'none':
        cuda = '10.0' if _stack() == 'pinned' else '13.0'
        return f'this image was built without CUDA (CUDA=none); to use a GPU, build it with CUDA={cuda}'
    if torch.version.cuda is None:
        return f'torch {torch.__version__} is built without CUDA'
    with warnings.catch_warnings(record=True) as caught:  # torch 2 warns when the driver is too old
        warnings.simplefilter('always')
        if torch.cuda.is_available():
            return None
    if not os.path.exists(DRIVER):
        return 'no NVIDIA driver is loaded on this machine'
    if _in_image() and not glob.glob(GPU_FILES):
        return (
            'the machine has an NVIDIA driver, but no GPU was passed to the container: install the NVIDIA'
            ' container toolkit and set COMPOSE_FILE=docker-compose.yml:docker/compose.gpu.yml (docker run:'
            ' --gpus all)'
        )
    if os.environ.get('CUDA_VISIBLE_DEVICES') in ('', '-1'):
        return 'CUDA_VISIBLE_DEVICES hides all GPUs'
    detail = str(caught[0].message).split('. ')[0] if caught else 'its version is in the output of nvidia-smi'
    return f'torch {torch.__version__} (CUDA {torch.version.cuda}) cannot use the NVIDIA driver: {detail}'


def why_unusable(number: int) -> Optional[str]:
    """Why torch, which sees GPUs, cannot compute on this one; None if it can.

    Torch itself says whether it has code for a GPU, by computing on it. A torch of CUDA 10 is not asked about
    newer GPUs: it would first compile its code for them, for minutes.
    """
    import torch

    count = torch.cuda.device_count()
    if number >= count:
        return 'there is no such GPU, only {}'.format(
            'cuda:0' if count == 1 else f'cuda:0 to cuda:{count - 1}'
        )
    version = f'torch {torch.__version__} (CUDA {torch.version.cuda})'
    gpu = f'cuda:{number}'
    try:
        capability = torch.cuda.get_device_capability(number)
        gpu += ', {} (compute capability {}.{}),'.format(torch.cuda.get_device_name(number), *capability)
        is_newer = capability >= _FIRST_UNSUPPORTED_CAPABILITY
        if is_newer and _has_old_cuda():
            return f'{gpu} is not supported by {version}; {_other_torch("modern")}'
        float(torch.ones(2, device=torch.device('cuda', number)).sum())
    except RuntimeError as error:
        if 'no kernel image' in str(error):
            return f'{gpu} is not supported by {version}; {_other_torch("modern" if is_newer else "pinned")}'
        return f'{gpu} fails with {version}: {str(error).splitlines()[0]}'
    return None


def _has_old_cuda() -> bool:
    """Whether torch is built for CUDA 10 or older, as that of the pinned stack."""
    import torch

    return int(torch.version.cuda.split('.')[0]) <= 10


def _other_torch(stack: str) -> str:
    """What to use for a GPU that this torch has no code for; ``stack``: of this project, which has it."""
    if _in_image() and _stack() != stack:
        files = 'COMPOSE_FILE=docker-compose.yml:docker/compose.gpu.yml'
        return f'use the image of the {stack} stack: STACK={stack} {files} docker compose run --rm eval-pth'
    if _has_old_cuda():
        return 'use the modern stack (make eval-pth with Python 3.9 or newer)'
    return 'install a build of torch that supports it'


def _stack() -> str:
    """The stack of this project's image."""
    return os.environ.get('CENTERNET_STACK', 'pinned')


def _keep_freed_memory() -> None:
    """Make glibc keep large freed blocks instead of returning them to the system.

    The output of every layer is such a block. Mapping them again page by page took more than half of dla_34's
    time with torch 1.0.0.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _cgroup_cpus() -> float:
    """The CPU quota of this process's control group, in cores; a large number if there is none."""
    quotas = [1e9]
    for path in ('/sys/fs/cgroup/cpu.max', '/sys/fs/cgroup/cpu/cpu.cfs_quota_us'):
        words = _read(path).split()
        if path.endswith('_us'):
            words += _read(path.replace('quota', 'period')).split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas)


def _is_amd_with_avx2() -> bool:
    facts = _cpu_facts()
    return facts.get('vendor_id') in ('AuthenticAMD', 'HygonGenuine') and {'avx2', 'fma'} <= set(
        facts.get('flags', '').split()
    )


def _cpu_facts() -> Dict[str, str]:
    """The entries of the first processor in /proc/cpuinfo."""
    first = _read('/proc/cpuinfo').split('\n\n')[0]
    return {
        key.strip(): value.strip() for key, _, value in (line.partition(':') for line in first.splitlines())
    }


def _read(path: str) -> str:
    """The text of a file, empty if it cannot be read."""
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ''
