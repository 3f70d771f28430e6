"""Run what needs other packages, or a GPU, in processes of their own with a time limit."""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from typing import IO, Any, Dict, List, NamedTuple, Optional, Tuple

from ..system.errors import UserError

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
from centernet.doctor.probe import run_step
run_step(sys.argv[2])
"""


class Answer(NamedTuple):
    """What a step returned, or why it failed."""

    value: Any = None
    problem: Optional[str] = None


def probe(steps: Dict[str, List[Any]], time_limit: float = TIME_LIMIT) -> Dict[str, Answer]:
    """Run steps at once, each in a process of its own, and return their answers by name.

    steps: name -> [function of this module, argument...]. time_limit: in seconds.
    """
    started = {name: _start(step) for name, step in steps.items()}
    return {name: _answer(process, output, time_limit) for name, (process, output) in started.items()}


def _start(step: List[Any]) -> Tuple[subprocess.Popen, IO[bytes]]:
    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [sys.executable, '-W', 'ignore', '-c', _CODE, source, json.dumps(step)]
    output = tempfile.TemporaryFile()
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output), output


def _answer(process: subprocess.Popen, output: IO[bytes], time_limit: float) -> Answer:
    with output:
        try:
            status = process.wait(time_limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return Answer(problem=f'no answer within {time_limit:g} s')
        output.seek(0)
        for line in output.read().decode('utf-8', 'replace').splitlines():
            if line.startswith(_MARK):
                return Answer(*json.loads(line[len(_MARK) :]))
    how = signal.Signals(-status).name if status < 0 else f'exit status {status}'
    return Answer(problem=f'the process failed: {how}')


def run_step(step: str) -> None:
    """In the new process: run a step and print its answer."""
    function, *arguments = json.loads(step)
    try:
        answer = Answer(globals()[function](*arguments))
    except UserError as error:
        answer = Answer(problem=str(error))
    except BaseException as error:  # packages have been seen to exit when they are imported
        text = (str(error).strip().splitlines() or [''])[0]
        answer = Answer(problem=f'{type(error).__name__}: {text}')
    print('\n' + _MARK + json.dumps(answer), flush=True)


def import_package(name: str) -> str:
    """Import a package and return its version."""
    return str(getattr(importlib.import_module(name), '__version__', 'installed'))


def describe_operator() -> Dict[str, Optional[str]]:
    """Return what the deformable convolution is compiled for, or why it is not, and what prevents it."""
    from ..kernels import compiled
    from ..kernels.build_extension import CannotBuild, check_compiler

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
    """Return torch's CUDA version; why torch sees no GPU; and of each that it sees the name, the compute
    capability, and why torch cannot compute on it."""
    from torch import cuda, version

    from ..system.device import why_no_gpu, why_unusable

    none = why_no_gpu()
    gpus = [
        (cuda.get_device_name(index), cuda.get_device_capability(index), why_unusable(index))
        for index in range(cuda.device_count() if none is None else 0)
    ]
    return {'cuda': version.cuda, 'none': none, 'gpus': gpus}


def try_device(name: str) -> str:
    """Compute something on a device and return its name."""
    from ..system.device import describe_device, resolve_device

    return '{device} ({device_name})'.format(**describe_device(resolve_device(name)))


def count_images(root: Optional[str], annotations: Optional[str], images: Optional[str]) -> str:
    """Read a data set's annotations and return where it is and how many images it has."""
    from ..coco import CocoData

    data = CocoData.load(root, annotations, images)
    return f'{data.annotations}: {len(data.image_ids)} images in {data.images}'


def read_file(path: str) -> str:
    """Read a byte of a file and return its path and size."""
    with open(path, 'rb') as file:
        if not file.read(1):
            raise EOFError(f'{path} is empty')
    return f'{path}, {os.path.getsize(path) / 1e6:.1f} MB'


def write_into(path: str) -> str:
    """Write a file that vanishes into a folder, or into the one where it would be created."""
    folder = os.path.abspath(path)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    with tempfile.TemporaryFile(dir=folder):
        return f'{path}, writable'
