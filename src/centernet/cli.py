"""The command line: ``centernet <command> [flags]``.

Nothing here imports torch or OpenCV: ``--help`` is quick, and threads are set up before they load.
"""

import argparse
import errno
import importlib
import logging
import os
import signal
import sys
import warnings
from typing import Optional, Sequence

from .system.errors import Interrupted, UserError
from .version import __version__

DESCRIPTION = 'Evaluate CenterNet (Objects as Points) checkpoints, export them to ONNX, verify the exports.'
EPILOG = """Without weights and data, the commands use the built-in sample.

examples:
  centernet eval-pth
  centernet eval-pth --weights models/ctdet_coco_dla_2x.pth --data data/coco --flip-test
  centernet export --weights models/ctdet_coco_dla_2x.pth --target ascend --verify
  centernet verify model.onnx --weights models/ctdet_coco_dla_2x.pth --data data/coco

Run 'centernet COMMAND --help' for the options of a command."""

#: each is a module in commands/ whose docstring is its help
COMMANDS = (
    'eval-pth',
    'export',
    'verify',
    'eval-onnx',
    'merge',
    'detect',
    'report',
    'dump-inputs',
    'eval-outputs',
    'run-ais',
    'run-trt',
    'modify',
    'fetch',
    'reproduce',
    'sample',
    'doctor',
)
#: what printing to a full disk raises
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run a command.

    Args:
        argv: the words after the program's name; None takes them from ``sys.argv``.

    Returns:
        The exit status: 0 success, 1 a failed verification or a partly failed run, 2 invalid input or
            options,
        130 and 143 ended by Ctrl-C and SIGTERM.
    """
    handler = _log_to_stderr()
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            arguments = build_parser().parse_args(argv)
            status = arguments.run(arguments)
            sys.stdout.flush()  # what cannot be printed shows here, and not when Python ends
            return status
    except UserError as error:
        _complain('error: {}'.format(' '.join(str(error).split())))
        return 2
    except Interrupted as error:
        _complain(str(error))
        return _status_of(error.__cause__)
    except (KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, KeyboardInterrupt):
            _complain('interrupted')
        return _status_of(error)
    except BrokenPipeError:  # whoever read our output has gone
        _discard_stdout()
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.filename is not None or error.errno not in _FULL:
            raise
        _discard_stdout()  # files have errors of their own, so it is stdout that was sent to a full disk
        _complain(f'error: cannot print: {error.strerror}')
        return 2
    finally:
        signal.signal(signal.SIGTERM, previous)
        logging.getLogger(__package__).removeHandler(handler)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the options on one line, without the usage."""

    def error(self, message: str) -> None:
        self.exit(2, f'{self.prog}: error: {message}; see {self.prog} --help\n')


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wider than argparse's default, so that names and explanations share a line."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=100)
        self._action_max_length = 14  # the names of the commands, which argparse forgets to indent


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; what it returns has the command's ``run(arguments) -> exit status``."""
    parser = _Parser(prog='centernet', description=DESCRIPTION, epilog=EPILOG, formatter_class=_HelpFormatter)
    parser.add_argument('--version', action='version', version=f'centernet {__version__}')
    commands = parser.add_subparsers(title='commands', metavar='COMMAND', dest='command')
    commands.required = True
    for name in COMMANDS:
        module = importlib.import_module('.commands.' + name.replace('-', '_'), __package__)
        title, _, text = getattr(module, 'HELP_TEXT', module.__doc__).partition('\n\n')
        sub = commands.add_parser(
            name,
            help=title[0].lower() + title[1:].rstrip('.'),
            description=text or title,
            formatter_class=_HelpFormatter,
        )
        module.add_options(sub)
        sub.set_defaults(run=module.run)
    return parser


def _status_of(cause):
    """The exit status of a run that was stopped."""
    if isinstance(cause, KeyboardInterrupt):
        return 128 + signal.SIGINT
    return (cause.code or 0) if isinstance(cause, SystemExit) else 1


def _discard_stdout():
    """So that the flush when Python ends finds nothing to complain of."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminate(_signal, _frame):
    raise SystemExit(128 + signal.SIGTERM)


def _log_to_stderr():
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter('centernet: %(message)s'))
    logger = logging.getLogger(__package__)
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    return handler


def _warn(message, *_, **__):
    _complain('warning: {}'.format(' '.join(str(message).split())))


def _complain(message):
    print('centernet: ' + message, file=sys.stderr)
