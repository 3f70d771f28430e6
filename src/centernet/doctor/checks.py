"""All checks, in the order of the report."""

import os
import platform
import sys
from typing import Callable, Dict, List, NamedTuple, Optional

from ..system.device import DRIVER
from ..system.files import display_path
from ..system.versions import installed_versions
from ..version import __version__
from . import versions
from .probe import Answer, probe

OK, WARNING, MISSING, DIFFERS = 'ok', 'warning', 'missing', 'differs'

PACKAGES = ('numpy', 'cv2', 'pycocotools', 'requests', 'tqdm', 'torch', 'onnx', 'onnxruntime')


class Finding(NamedTuple):
    """One line of the report.

    topic: what was examined. level: OK or WARNING; or MISSING or DIFFERS, which set the exit status.
    text: the result. advice: what to do about it.
    """

    topic: str
    level: str
    text: str
    advice: Optional[str] = None


def examine(
    weights: Optional[str] = None,
    data: Optional[str] = None,
    annotations: Optional[str] = None,
    images: Optional[str] = None,
    device: str = 'auto',
    output: Optional[str] = None,
) -> List[Finding]:
    """Run all checks; of the arguments, only those given. Takes about as long as importing torch."""
    steps = {name: ['import_package', name] for name in PACKAGES}
    steps.update(operator=['describe_operator'], gpus=['find_gpus'])
    if device != 'auto':
        steps['--device'] = ['try_device', device]
    if data or annotations or images:
        steps['--data'] = ['count_images', data, annotations, images]
    if weights is not None:
        steps['--weights'] = ['read_file', weights]
    if output is not None:
        steps['--output'] = ['write_into', output]
    answers = probe(steps)
    return [
        check_system(),
        *[_reported(name, answers[name], 'install or reinstall it') for name in PACKAGES],
        *_isolated('lock', check_lock),
        *_isolated('torch patches', check_torch_patches),
        check_operator(answers),
        *check_gpus(answers),
        *[_reported(name, answer) for name, answer in answers.items() if name.startswith('--')],
    ]


def _isolated(topic: str, check: Callable[[], List[Finding]]) -> List[Finding]:
    """Call a check that reads what may be broken; if it fails, only its own line is lost."""
    try:
        return check()
    except Exception as error:
        return [Finding(topic, WARNING, f'cannot be checked: {type(error).__name__}: {error}')]


def _reported(topic: str, answer: Answer, advice: Optional[str] = None) -> Finding:
    """Report an answer of the probe: OK, or MISSING with the advice."""
    if answer.problem is None:
        return Finding(topic, OK, answer.value)
    return Finding(topic, MISSING, answer.problem, advice)


def check_system() -> Finding:
    """Report this package's version, the stack and the system."""
    stack, python = versions.stack_name(), platform.python_version()
    text = f'centernet {__version__}, Python {python}, {platform.system()} {platform.machine()}'
    if stack is not None:
        return Finding('system', OK, f'{text}, {stack} stack')
    advice = 'use Python 3.6 (pinned stack) or 3.9 to 3.13 (modern stack)'
    return Finding('system', WARNING, text + ', untested', advice)


def check_lock() -> List[Finding]:
    """Compare the installed versions with the lock of the stack."""
    stack = versions.stack_name()
    if stack is None:
        return []
    paths = [os.path.join(versions.find_folder('requirements'), name) for name in versions.LOCKS[stack]]
    installed, locked = installed_versions(), versions.locked_versions(paths)
    differing = [
        f'{name} {installed.get(name, "is not installed")} (locked: {" or ".join(sorted(wanted))})'
        for name, wanted in sorted(locked.items())
        if installed.get(name, '').split('+')[0] not in wanted  # 2.13.0+cpu is a build of 2.13.0
    ]
    if not differing:
        return [Finding('lock', OK, f'all {len(locked)} versions are those of {display_path(paths[0])}')]
    text = f'{len(differing)} of {len(locked)} versions differ from {display_path(paths[0])}: '
    advice = "results may differ; use 'make venv' or the image, which have the locked versions"
    return [Finding('lock', DIFFERS, text + ', '.join(differing), advice)]


def check_torch_patches() -> List[Finding]:
    """Report whether torch 1.0.0 is patched; other versions need no patch."""
    if installed_versions().get('torch') != '1.0.0':
        return []
    unpatched = versions.unpatched_files(versions.find_folder('patches/torch-1.0.0'))
    if not unpatched:
        return [Finding('torch patches', OK, 'applied')]
    advice = f'your own models may not export; run patches/torch-1.0.0/apply.sh {sys.executable}'
    return [Finding('torch patches', WARNING, 'not applied to ' + ', '.join(unpatched), advice)]


def check_operator(answers: Dict[str, Answer]) -> Finding:
    """Report whether the deformable convolution is compiled, and if not, why."""
    topic = 'deformable convolution'
    operator, problem = answers['operator']
    if problem is not None:
        return Finding(topic, WARNING, 'unknown: ' + problem)
    if operator['missing']:
        advice = operator['obstacle'] or 'reinstall the package with pip -v, which shows why compiling fails'
        return Finding(topic, WARNING, 'not compiled, much slower: ' + operator['missing'], advice)
    gpus = answers['gpus'].value
    if gpus and gpus['gpus'] and 'CUDA' not in operator['compiled']:
        advice = f'install the CUDA toolkit {gpus["cuda"]} (nvcc) and reinstall the package'
        text = f'compiled for {operator["compiled"]} only, slower on a GPU: {operator["why_no_cuda"]}'
        return Finding(topic, WARNING, text, advice)
    return Finding(topic, OK, 'compiled for ' + operator['compiled'])


def check_gpus(answers: Dict[str, Answer]) -> List[Finding]:
    """Report each GPU that torch sees and whether torch supports it, or why torch sees none."""
    found, problem = answers['gpus']
    if problem is not None:
        return [Finding('GPU', WARNING, 'unknown: ' + problem)]
    if found['none'] is not None:
        if os.path.exists(DRIVER):
            return [Finding('GPU', WARNING, found['none'])]
        return [Finding('GPU', OK, 'no NVIDIA driver; everything runs on the CPU')]
    return [
        Finding('GPU', OK, 'cuda:{}: {}, compute capability {}.{}'.format(index, name, *capability))
        if unusable is None
        else Finding('GPU', WARNING, unusable, 'or use --device cpu')
        for index, (name, capability, unusable) in enumerate(found['gpus'])
    ]
