"""The machine, and the container if this is one: system, compilers, GPU, mounts, shared memory, space."""

import os
import platform
import re
import shutil
import sys
import tempfile

from .. import __version__
from .findings import MISSING, OK, WARNING, Finding
from .installed import STACKS

#: shared memory that four loader processes with batches of 8 pictures of 512 x 512 have room in
SHARED_MEMORY = 256 << 20
#: less free space than this is said
SPACE = 1 << 30
#: what folders of data, checkpoints and results are called in a container, in the working directory or at the
#: root
MOUNTS = ('data', 'models', 'output')
#: is there where NVIDIA's driver is loaded, in a container of such a host too
DRIVER = '/proc/driver/nvidia/version'
WAY_OUT = (
    'use --device cpu, or the modern stack (Python 3.9 to 3.13 with torch 2), whose torch has code for newer'
    ' GPUs'
)


def check_system():
    stack = STACKS.get(sys.version_info[:2], ('no known',))[0]
    where = 'in a container' if in_container() else 'no container'
    text = (
        f'centernet {__version__}, {stack} stack: Python {platform.python_version()} on {platform.system()}'
        f' {platform.machine()}, {where}'
    )
    return [
        Finding(
            'system',
            OK,
            text,
            details={
                'centernet': __version__,
                'stack': stack,
                'python': platform.python_version(),
                'executable': sys.executable,
                'container': in_container(),
            },
        )
    ]


def compiler_commands():
    return {'g++': [os.environ.get('CXX') or 'g++', '--version'], 'nvcc': ['nvcc', '--version']}


def check_compilers(started):
    """started: name -> Started, of :func:`compiler_commands`."""
    versions = {}
    for name, process in started.items():
        text, failure = process.finish()
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        release = [line for line in lines if 'release' in line]
        versions[name] = None if failure or not lines else (release or lines)[0]
    text = '; '.join(version if version else f'no {name}' for name, version in versions.items())
    return [Finding('compilers', OK, text, details=versions)]


def check_operator(found, failed):
    """found, failed: what the probe ``torch`` said."""
    if 'operator' not in found:
        return [
            Finding(
                'DCN', WARNING, 'not known: {}'.format(failed.get('operator', 'torch cannot be imported'))
            )
        ]
    details = found['operator']
    if details['compiled']:
        return [Finding('DCN', OK, 'compiled for {}'.format(details['compiled']), details=details)]
    return [
        Finding(
            'DCN',
            WARNING,
            'plain torch, several times slower: {}'.format(details['missing']),
            'install this package again where g++ 7.2 or newer is',
            details,
        )
    ]


def check_gpu(found, failed, smi, device):
    """GPUs that torch sees, whether it has code for them, and the one that was asked for.

    Args:
        found, failed: what the probe ``torch`` said.
        smi: nvidia-smi as Started, which lists name, capability and driver; None where it is not installed.
        device: as in --device.
    """
    seen, archs, findings = found.get('gpus', []), found.get('architectures', []), []
    for number, gpu in enumerate(seen):
        capability = '{}.{}'.format(*gpu['capability'])
        text = 'cuda:{} is {}, capability {}'.format(number, gpu['name'], capability)
        asked = device == f'cuda:{number}' or (device == 'cuda' and number == 0)
        if serves(archs, gpu['capability']):
            findings.append(Finding('GPU', OK, text, details=gpu))
        else:
            findings.append(
                Finding(
                    'GPU',
                    MISSING if asked else WARNING,
                    '{}, for which torch {} (CUDA {}) has no code'.format(
                        text, found['torch']['version'], found['torch']['cuda']
                    ),
                    WAY_OUT,
                    gpu,
                )
            )
    if not seen:
        findings.append(_without_gpu(found, failed, smi))
    if device != 'auto':
        if 'device' in found:
            findings.append(
                Finding(
                    '--device',
                    OK,
                    '{device} ({device_name})'.format(**found['device']),
                    details=found['device'],
                )
            )
        else:
            findings.append(
                Finding(
                    '--device',
                    MISSING,
                    failed.get('device')
                    or '{} cannot be tried: {}'.format(
                        device, failed.get('torch', 'torch cannot be imported')
                    ),
                )
            )
    return findings


def serves(archs, capability):
    """Whether code for ``archs`` (``sm_70``: machine code; ``compute_70``: PTX) runs on a GPU of this
    capability, (major, minor)."""
    major, minor = capability
    for arch in archs:
        match = re.match(r'(sm|compute)_(\d+)(\d)[a-z]?$', arch)
        if match is None:
            continue
        made_for = int(match.group(2)), int(match.group(3))
        # machine code runs within its major version, PTX is compiled for anything newer
        if made_for <= (major, minor) and (match.group(1) == 'compute' or made_for[0] == major):
            return True
    return False


def _without_gpu(found, failed, smi):
    text, failure = smi.finish() if smi else ('', 'not installed')
    if 'torch' not in found:
        return Finding(
            'GPU',
            WARNING,
            'not known: {}'.format(failed.get('torch') or failed.get('start') or 'torch cannot be imported'),
        )
    if 'gpus' in failed:
        return Finding('GPU', WARNING, 'torch fails on it: {}'.format(failed['gpus']))
    if found['torch']['cuda'] is None:
        return Finding('GPU', OK, 'torch {} is built for CPUs'.format(found['torch']['version']))
    if failure is None and text.strip():
        return Finding(
            'GPU',
            WARNING,
            'nvidia-smi sees {}, torch {} (CUDA {}) sees none'.format(
                '; '.join(text.strip().splitlines()), found['torch']['version'], found['torch']['cuda']
            ),
            'the driver is older than this CUDA, or CUDA_VISIBLE_DEVICES hides it',
        )
    if os.path.exists(DRIVER):
        inside = in_container()
        return Finding(
            'GPU',
            WARNING,
            'an NVIDIA driver is loaded, and {}'.format(
                'this container was given no GPU'
                if inside
                else 'torch {} (CUDA {}) sees no GPU'.format(
                    found['torch']['version'], found['torch']['cuda']
                )
            ),
            (
                "start it with the GPU override of the compose files, or with docker run --gpus all (NVIDIA's"
                ' container toolkit)'
                if inside
                else 'the driver is older than this CUDA, or CUDA_VISIBLE_DEVICES hides the GPU'
            ),
        )
    return Finding('GPU', OK, 'none, or no NVIDIA driver: everything runs on the CPU')


def in_container(root='/'):
    if any(os.path.exists(os.path.join(root, name)) for name in ('.dockerenv', 'run/.containerenv')):
        return True
    try:
        with open(os.path.join(root, 'proc/1/cgroup')) as file:
            return re.search('docker|kubepods|containerd|lxc', file.read()) is not None
    except OSError:
        return False


def folders(name):
    """Those of the folders ``./name`` and ``/name`` that are there, as absolute paths."""
    return sorted(
        {place for place in (os.path.join(root, name) for root in (os.getcwd(), '/')) if os.path.isdir(place)}
    )


def check_mounts(table='/proc/self/mountinfo'):
    """What a container's folders for data, checkpoints and results are: mounted or its own, writable or not,
    whose."""
    with open(table) as file:
        mounts = dict(_mount(line) for line in file)
    findings = []
    for place in [place for name in MOUNTS for place in folders(name)]:
        writable = os.access(place, os.W_OK)
        stat = os.stat(place)
        details = {'mounted': mounts.get(place), 'writable': writable, 'owner': [stat.st_uid, stat.st_gid]}
        text = '{}, {}, owner {}:{}'.format(
            f'mounted ({mounts[place]})' if place in mounts else "the container's own folder",
            'writable' if writable else f'read-only for user {os.getuid()}',
            *details['owner'],
        )
        advice = None
        if place.endswith('output') and not writable:
            advice = f'results cannot be written there: mount a folder that user {os.getuid()} may write'
        findings.append(Finding(place, WARNING if advice else OK, text, advice, details))
    return findings


def _mount(line):
    """A line of mountinfo -> (mount point, type of file system)."""
    fields, _, rest = line.partition(' - ')
    return fields.split()[4].replace('\\040', ' '), rest.split()[0]


def check_shared_memory(folder='/dev/shm'):
    if not os.path.isdir(folder):
        return []
    found = os.statvfs(folder)
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    small = free < SHARED_MEMORY
    return [
        Finding(
            folder,
            WARNING if small else OK,
            f'{in_units(free)} free of {in_units(size)}',
            (
                'loader processes may die of it: start the container with --shm-size=1g, or give --workers 0'
                if small
                else None
            ),
            {'size': size, 'free': free},
        )
    ]


def check_space(output):
    """Free space where results go and where temporary files go."""
    findings = []
    for topic, folder in (('space', existing(output)), ('temporary space', tempfile.gettempdir())):
        free = shutil.disk_usage(folder).free
        findings.append(
            Finding(
                topic,
                WARNING if free < SPACE else OK,
                f'{in_units(free)} free in {folder}',
                'it may not be enough for results and models' if free < SPACE else None,
                {'folder': folder, 'free': free},
            )
        )
    return findings


def existing(path):
    """The folder ``path``, or the nearest one above that is there."""
    path = os.path.abspath(path)
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def in_units(size):
    """Bytes for people."""
    for unit in ('B', 'KB', 'MB'):
        if size < 1024:
            return f'{size:.0f} {unit}'
        size /= 1024
    return f'{size:.1f} GB'
