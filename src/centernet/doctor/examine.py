"""All checks, in the order of the report."""

import shutil
from typing import List, NamedTuple, Optional

from . import given, installed, machine
from .findings import MISSING, OK, WARNING, Finding, isolated
from .processes import Probe, Started

#: what the package itself needs, and what its export and eval-onnx need besides
REQUIRED = ('numpy', 'cv2', 'pycocotools', 'tqdm')
EXPORT = ('onnx', 'onnxruntime')


class Asked(NamedTuple):
    """What the flags name. output: the folder that results go to; output_given: whether it was named."""

    weights: Optional[str] = None
    data: Optional[str] = None
    annotations: Optional[str] = None
    images: Optional[str] = None
    device: str = 'auto'
    output: str = '.'
    output_given: bool = False


def examine(asked: Asked) -> List[Finding]:
    """Look at everything. Takes as long as ``import torch`` does, and writes nothing."""
    # Whatever is a process of its own starts first, and is read last.
    torch = Probe('torch', asked.device)
    packages = {
        name: Probe('packages', *names) for name, names in (('required', REQUIRED), ('export', EXPORT))
    }
    wants_data = bool(asked.data or asked.annotations or asked.images)
    data = (
        Probe('data', asked.data or '', asked.annotations or '', asked.images or '') if wants_data else None
    )
    compilers = {name: Started(command, 5) for name, command in machine.compiler_commands().items()}
    smi = None
    if shutil.which('nvidia-smi'):
        smi = Started(['nvidia-smi', '--query-gpu=name,driver_version', '--format=csv,noheader'], 5)

    findings = isolated('system', machine.check_system)
    findings += isolated('lock', installed.check_lock)
    findings += isolated('torch patches', installed.check_torch_patches)
    compiled = isolated('compilers', machine.check_compilers, compilers)
    place = isolated('mounts', machine.check_mounts) if machine.in_container() else []
    place += isolated('weights', given.check_weights, asked.weights)
    output = isolated('output', given.check_output, asked.output, asked.output_given)
    space = isolated('/dev/shm', machine.check_shared_memory) + isolated(
        'space', machine.check_space, asked.output
    )
    found, failed = torch.finish()
    findings += isolated('packages', _check_packages, packages, found, failed)
    findings += isolated('DCN', machine.check_operator, found, failed)
    findings += isolated('GPU', machine.check_gpu, found, failed, smi, asked.device)
    findings += compiled + place
    findings += isolated('data', given.check_data, wants_data, data)
    return findings + output + space


def _check_packages(probes, found, failed):
    """Whether the packages can be imported, and torch (found, failed: what its probe said)."""
    found = {name: value for name, value in found.items() if name == 'torch'}
    failed = {name: why for name, why in failed.items() if name in ('torch', 'start')}
    for names, probe in ((REQUIRED, probes['required']), (EXPORT, probes['export'])):
        more = _imported(names, probe)
        found.update(more[0])
        failed.update(more[1])
    versions = {name: found[name]['version'] for name in ('torch', *REQUIRED, *EXPORT) if name in found}
    findings = []
    if versions:
        text = ', '.join(
            name if version is None else f'{name} {version}' for name, version in versions.items()
        )
        findings.append(Finding('packages', OK, text, details=versions))
    for name, why in sorted(failed.items()):
        if name == 'start':
            findings.append(Finding('packages', MISSING, f'this Python cannot run another one: {why}'))
        elif name in EXPORT and f'No module named {name!r}' in why:
            findings.append(
                Finding(
                    'packages',
                    WARNING,
                    f'{name} is not installed',
                    'export, modify, verify and eval-onnx need it',
                )
            )
        else:
            findings.append(
                Finding('packages', MISSING, f'{name} cannot be imported: {why}', 'install it anew')
            )
    return findings


def _imported(names, probe):
    """What the probe ``packages`` says of these names; where one of them took the process with it, the others
    are tried in a new one."""
    found, failed = probe.finish()
    rest = [name for name in names if name not in found and name not in failed]
    if rest and failed and 'start' not in failed:
        more = _imported(rest, Probe('packages', *rest))
        found.update(more[0])
        failed.update(more[1])
    return found, failed
