"""Shared by the tests of the container: running programs, and the compose services."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, Optional, Sequence

#: a line in every secret of the build, searched for in the image
MARKER = '# marker-of-a-build-secret-5f1c7a'
#: engine.sh's exit status on a machine that cannot run an engine; any other is a failure
NO_ENGINE = 3
#: the image under test
STACK, CUDA = os.environ.get('STACK', 'pinned'), os.environ.get('CUDA', 'none')
IMAGE = f'centernet-container:{STACK}-cuda-{CUDA}'
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def call(
    command: Sequence[str],
    environment: Optional[Dict[str, str]] = None,
    cwd: Optional[str] = None,
    check: bool = True,
    quiet: bool = False,
    timeout: float = 1500,
) -> subprocess.CompletedProcess:
    """Run a program, and show the command, its exit status and the time it took.

    Returns:
        CompletedProcess with text in stdout and stderr.

    Raises:
        AssertionError: ``check`` is set and the exit status is not 0; with the end of the output.
    """
    start = time.time()
    run = subprocess.run(
        command,
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=timeout,
    )
    if not quiet:
        show(
            '{}\n    exit status {}, {:.1f} s'.format(' '.join(command), run.returncode, time.time() - start)
        )
    assert not check or run.returncode == 0, '{} ended with {}\n{}\n{}'.format(
        ' '.join(command), run.returncode, run.stdout[-8000:], run.stderr[-8000:]
    )
    return run


def show(text: str) -> None:
    """Print a line, which pytest shows with --capture=no."""
    print('\n  $ ' + text, file=sys.stderr, flush=True)


class Compose:
    """``docker compose`` in this checkout, with data, input, models and output folders of its own.

    Args:
        settings: the environment variables.
        folder: where the three folders are created.
    """

    def __init__(self, settings: Dict[str, str], folder: Path) -> None:
        names = ('data', 'input', 'models', 'output')
        self.data, self.input, self.models, self.output = (folder / name for name in names)
        for path in (self.data, self.input, self.models, self.output):
            path.mkdir()
        self.environment = dict(
            settings,
            DATA_DIR=str(self.data),
            INPUT_DIR=str(self.input),
            MODELS_DIR=str(self.models),
            OUTPUT_DIR=str(self.output),
        )

    def run(
        self,
        service: str,
        *arguments: str,
        options: Sequence[str] = (),
        check: bool = True,
        **variables: str,
    ) -> subprocess.CompletedProcess:
        """Run ``docker compose run --rm <options> <service> <arguments>``."""
        return call(
            ['docker', 'compose', 'run', '--rm', '-T'] + list(options) + [service] + list(arguments),
            environment=dict(self.environment, **variables),
            cwd=ROOT,
            check=check,
        )

    def docker(self, *arguments: str, check: bool = True, quiet: bool = False) -> subprocess.CompletedProcess:
        """Run ``docker <arguments>``."""
        return call(
            ['docker'] + list(arguments), environment=self.environment, cwd=ROOT, check=check, quiet=quiet
        )
