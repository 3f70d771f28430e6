"""What the tests of the container share: programs that are run and shown, and the compose services."""

import os
import subprocess
import sys
import time

#: a line in every secret of the build, to look for what they leave behind
MARKER = '# marker-of-a-build-secret-5f1c7a'
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def call(command, environment=None, cwd=None, check=True, quiet=False, timeout=1500):
    """Run a program to its end, and show what was run, how it ended and how long it took.

    Returns:
        CompletedProcess with text in stdout and stderr.

    Raises:
        AssertionError: ``check``, and its exit status is not 0; with what it printed.
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


def show(text):
    """Print a line, past pytest's capture when that is off."""
    print('\n  $ ' + text, file=sys.stderr, flush=True)


class Compose:
    """``docker compose`` in this checkout with its own data, models and output folders.

    Args:
        settings: the environment.
        folder: a pathlib.Path, in which the three folders are made.
    """

    def __init__(self, settings, folder):
        self.data, self.models, self.output = (folder / name for name in ('data', 'models', 'output'))
        for path in (self.data, self.models, self.output):
            path.mkdir()
        self.environment = dict(
            settings, DATA_DIR=str(self.data), MODELS_DIR=str(self.models), OUTPUT_DIR=str(self.output)
        )

    def run(self, service, *arguments, options=(), check=True, **variables):
        """``docker compose run --rm <options> <service> <arguments>``, as a CompletedProcess."""
        return call(
            ['docker', 'compose', 'run', '--rm', '-T'] + list(options) + [service] + list(arguments),
            environment=dict(self.environment, **variables),
            cwd=ROOT,
            check=check,
        )

    def docker(self, *arguments, check=True, quiet=False):
        """``docker <arguments>``, as a CompletedProcess."""
        return call(
            ['docker'] + list(arguments), environment=self.environment, cwd=ROOT, check=check, quiet=quiet
        )
