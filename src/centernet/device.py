"""Where the network runs, and on how many threads. Imports torch only when a function needs it.

The OpenMP runtime reads its variables once, when torch is imported, so a command calls
:func:`prepare_threads` before that and :func:`apply_threads` after. The measurements behind the choices are
in docs/threads.md.
"""

import ctypes
import logging
import math
import os
import re
import sys

from .errors import DeviceError, OptionError

_log = logging.getLogger(__name__)
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # from malloc.h


def resolve_device(name='auto'):
    """A torch.device that works.

    Args:
        name: ``auto`` (the first GPU if it can be used, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DeviceError: the name is unknown, or there is no such GPU, or it cannot compute.
    """
    import torch

    match = re.match(r'(auto|cpu|cuda)(?::(\d+))?$', name)
    if not match or (match.group(2) and match.group(1) != 'cuda'):
        raise DeviceError(f"unknown device '{name}': give auto, cpu, cuda or cuda:N")
    kind, index = match.group(1), int(match.group(2) or 0)
    if kind == 'cpu' or (kind == 'auto' and not torch.cuda.is_available()):
        return torch.device('cpu')
    device = torch.device('cuda', index)
    try:
        _check_gpu(device)
    except DeviceError as error:
        if kind != 'auto':
            raise
        _log.warning('%s; using the CPU', error)
        return torch.device('cpu')
    return device


def describe_device(device):
    """A plain dict for people: ``device``, ``device_name`` and, of a GPU, CUDA's version and the compute
    capability."""
    import torch

    if device.type == 'cuda':
        return {
            'device': str(device),
            'device_name': torch.cuda.get_device_name(device),
            'cuda': torch.version.cuda,
            'capability': '{}.{}'.format(*torch.cuda.get_device_capability(device)),
        }
    return {'device': str(device), 'device_name': _cpu_facts().get('model name', 'unknown')}


def available_cpus():
    """How many cores this process may keep busy, at least 1.

    Hardware threads of one core count once (they share the units that convolutions wait for), and so do the
    limits set from outside: the affinity mask (``taskset``, ``docker --cpuset-cpus``) and the cgroup's quota
        (``docker --cpus``), rounded down.
    """
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # macOS
        return os.cpu_count() or 1
    cores = {
        _read(f'/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list') or str(cpu)
        for cpu in allowed
    }
    return max(1, min(len(cores), math.floor(_cgroup_cpus())))


def prepare_threads(threads=None):
    """Set the environment for the numerical libraries; call it before torch is imported.

    Args:
        threads: how many threads the network may use; None takes ``OMP_NUM_THREADS`` where it is set, else
            all cores.

    Returns:
        The number, for :func:`apply_threads`.

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
        # Threads that wait for the others sleep. By default they spin for milliseconds, on cores that those
        # others may need.
        os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    if _is_amd_with_avx2():
        # The MKL in torch 1.0.0 runs SSE code on a processor that is not Intel's unless told to use AVX2.
        # That is slow, and six times slower still on a second thread once mkldnn has left AVX registers
        # behind there. It reads this at its first call; newer ones do not read it.
        os.environ.setdefault('MKL_DEBUG_CPU_TYPE', '5')
    return threads


def apply_threads(threads):
    """Set up this process for networks on the CPU, once torch is imported: ``threads`` threads for torch and
    OpenCV, and memory that stays with the process once it has been fetched.
    """
    import cv2

    from .compat import set_threads

    set_threads(threads)
    cv2.setNumThreads(threads)
    _keep_freed_memory()


def _check_gpu(device):
    import torch

    if torch.version.cuda is None:
        raise DeviceError(
            f'{device} was asked for, but torch {torch.__version__} is built without CUDA: give --device cpu,'
            ' or install a build with CUDA'
        )
    if not torch.cuda.is_available():
        raise DeviceError(
            f'{device} was asked for, but no NVIDIA GPU can be used here: give --device cpu, or check the'
            ' driver (nvidia-smi) and, in a container, that the GPU was passed to it'
        )
    count = torch.cuda.device_count()
    if device.index >= count:
        raise DeviceError(
            'no such GPU: {}; there {}'.format(
                device, 'is only cuda:0' if count == 1 else f'are cuda:0 to cuda:{count - 1}'
            )
        )
    try:
        float(torch.ones(2, device=device).sum())
    except RuntimeError as error:  # for one, the build has no code for the GPU's generation
        raise DeviceError(
            f'{device} ({torch.cuda.get_device_name(device)}) cannot be used by torch {torch.__version__}:'
            f' {str(error).splitlines()[0]}'
        ) from error


def _keep_freed_memory():
    """Tell the C library (glibc) not to return large blocks to the system.

    Every layer's output is such a block; fetched anew page by page, they took more than half of dla_34's time
    on torch 1.0.0.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _cgroup_cpus():
    """The quota of this process's control group in cores, infinite where there is none."""
    quotas = [math.inf]
    for path in ('/sys/fs/cgroup/cpu.max', '/sys/fs/cgroup/cpu/cpu.cfs_quota_us'):
        words = _read(path).split()
        if path.endswith('_us'):
            words += _read(path.replace('quota', 'period')).split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas + [1e9])


def _is_amd_with_avx2():
    facts = _cpu_facts()
    return facts.get('vendor_id') in ('AuthenticAMD', 'HygonGenuine') and {'avx2', 'fma'} <= set(
        facts.get('flags', '').split()
    )


def _cpu_facts():
    """The first processor's entries in /proc/cpuinfo."""
    first = _read('/proc/cpuinfo').split('\n\n')[0]
    return {
        key.strip(): value.strip() for key, _, value in (line.partition(':') for line in first.splitlines())
    }


def _read(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ''
