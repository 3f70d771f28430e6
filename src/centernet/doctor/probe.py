"""Run what needs other packages, or a GPU, in a separate process with a time limit."""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional

from ..errors import UserError

#: Seconds. Importing torch for the first time from a slow disk can take a minute.
TIME_LIMIT = 120

_MARK = 'centernet-probe: '
# The process imports this very package, but nothing from the working folder: a file there may have the name
# of a package.
_CODE = """
import sys
sys.path = [sys.argv[1]] + [path for path in sys.path if path]
import centernet
del sys.path[0]
from centernet.doctor.probe import run_steps
run_steps(sys.argv[2])
"""


class Answer(NamedTuple):
    """What a step returned, or why it failed."""

    value: Any = None
    problem: Optional[str] = None


def probe(steps: Dict[str, List[Any]], time_limit: float = TIME_LIMIT) -> Dict[str, Answer]:
    """Run steps in a new process and return their answers by name.

    After a step that takes the process down, such as a crash in a shared library, the others run in another
    process. A step that exceeds the time limit ends the probe.

    steps: name -> [function of this module, argument...]. time_limit: seconds for each process.
    """
    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    answers = {}  # type: Dict[str, Answer]
    remaining = dict(steps)
    while remaining:
        command = [sys.executable, '-W', 'ignore', '-c', _CODE, source, json.dumps(remaining)]
        with tempfile.TemporaryFile() as output:
            try:
                status = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=time_limit
                ).returncode
                problem = signal.Signals(-status).name if status < 0 else f'exit status {status}'
                failed = 1
            except subprocess.TimeoutExpired:
                problem, failed = f'no answer within {time_limit:g} s', len(remaining)
            output.seek(0)
            for line in output.read().decode('utf-8', 'replace').splitlines():
                if line.startswith(_MARK):
                    name, *answer = json.loads(line[len(_MARK) :])
                    answers[name] = Answer(*answer)
                    del remaining[name]
        for name in list(remaining)[:failed]:
            answers[name] = Answer(problem=f'the process failed: {problem}')
            del remaining[name]
    return answers


def run_steps(steps: str) -> None:
    """In the new process: run each step and print its answer."""
    for name, (function, *arguments) in json.loads(steps).items():
        try:
            answer = Answer(globals()[function](*arguments))
        except UserError as error:
            answer = Answer(problem=str(error))
        except BaseException as error:  # packages have been seen to exit when they are imported
            text = (str(error).strip().splitlines() or [''])[0]
            answer = Answer(problem=f'{type(error).__name__}: {text}')
        print('\n' + _MARK + json.dumps([name, *answer]), flush=True)


def import_package(name: str) -> str:
    """Import a package and return its version."""
    return str(getattr(importlib.import_module(name), '__version__', 'installed'))


def describe_operator() -> Dict[str, Optional[str]]:
    """Return what the deformable convolution is compiled for, or why it is not, and what prevents it."""
    from ..dcn import compiled
    from ..dcn.build_extension import CannotBuild, check_compiler

    obstacle = None
    try:
        check_compiler(os.environ.get('CXX', 'g++').split()[0])
    except CannotBuild as error:
        obstacle = str(error)
    return {
        'compiled': compiled.description(),
        'missing': compiled.MISSING,
        'why_no_cuda': compiled.why_no_cuda(),
        'obstacle': obstacle,
    }


def find_gpus() -> Dict[str, Any]:
    """Return torch's CUDA version, the architectures that it has code for, and the GPUs that it sees."""
    from torch import cuda, version

    found = range(cuda.device_count()) if version.cuda and cuda.is_available() else []
    return {
        'cuda': version.cuda,
        # torch 1.0.0 cannot tell; its CUDA 9 and 10 wheels have these
        'architectures': getattr(cuda, 'get_arch_list', lambda: ['sm_35', 'sm_50', 'sm_60', 'sm_70'])(),
        'gpus': [[cuda.get_device_name(index), *cuda.get_device_capability(index)] for index in found],
    }


def try_device(name: str) -> str:
    """Compute something on a device and return its name."""
    from ..device import describe_device, resolve_device

    return '{device} ({device_name})'.format(**describe_device(resolve_device(name)))


def count_images(root: Optional[str], annotations: Optional[str], images: Optional[str]) -> str:
    """Read a data set's annotations and return where it is and how many images it has."""
    from ..coco import CocoData

    data = CocoData.load(root, annotations, images)
    return f'{data.annotations}: {len(data.image_ids)} images in {data.images}'
