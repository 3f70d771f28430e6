"""The command line: ``centernet <command> [flags]``.

Nothing here imports torch or OpenCV: ``--help`` is quick, and threads are set up before they load.
"""

import argparse
import errno
import logging
import os
import signal
import sys
import warnings

from . import __version__
from .commands import doctor, eval_onnx, eval_pth, export, fetch, modify, reproduce, sample, verify
from .errors import UserError

COMMANDS = (eval_pth, export, modify, verify, eval_onnx, fetch, reproduce, sample, doctor)
#: what printing to a full disk raises
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(argv=None):
    """Run a command.

    Args:
        argv: the words after the program's name; None takes them from ``sys.argv``.

    Returns:
        The exit status: 0 done, 1 done in part (images that could not be read) or not the same model, 2 a
            mistake in what was given, 130
        and 143 ended by Ctrl-C and SIGTERM.
    """
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as leaving:  # argparse has printed the help, or what is wrong
        return leaving.code or 0
    handler = _log_to_stderr()
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            status = arguments.run(arguments)
            sys.stdout.flush()  # what cannot be printed shows here, and not when Python ends
            return status
    except UserError as error:
        _complain('error: {}'.format(' '.join(str(error).split())))
        return 2
    except KeyboardInterrupt:
        _complain('interrupted')
        return 128 + signal.SIGINT
    except SystemExit as leaving:
        return leaving.code or 0
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


def build_parser():
    """The parser of all commands; what it returns has the command's ``run(arguments) -> exit status``."""
    parser = argparse.ArgumentParser(
        prog='centernet', description='Evaluate a CenterNet (Objects as Points) checkpoint.'
    )
    parser.add_argument('--version', action='version', version=f'centernet {__version__}')
    commands = parser.add_subparsers(title='commands', metavar='COMMAND', dest='command')
    commands.required = True
    for command in COMMANDS:
        sub = commands.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_flags(sub)
        sub.set_defaults(run=command.run)
    return parser


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
