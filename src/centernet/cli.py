"""The command line: ``centernet <command> [flags]``.

Nothing here imports torch or OpenCV: ``--help`` is quick, and threads are set up before they load.
"""

import argparse
import logging
import os
import signal
import sys
import warnings

from . import __version__
from .commands import doctor, eval_onnx, eval_pth, export, fetch, modify, reproduce, sample, verify
from .errors import UserError

COMMANDS = (eval_pth, export, modify, verify, eval_onnx, fetch, reproduce, sample, doctor)


def main(argv=None):
    """Run a command.

    Args:
        argv: the words after the program's name; None takes them from ``sys.argv``.

    Returns:
        The exit status: 0 done, 1 done in part (images that could not be read) or not the same model, 2 a mistake in what was given, 130
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
            return arguments.run(arguments)
    except UserError as error:
        _complain('error: {}'.format(' '.join(str(error).split())))
        return 2
    except KeyboardInterrupt:
        _complain('interrupted')
        return 128 + signal.SIGINT
    except SystemExit as leaving:
        return leaving.code or 0
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit finds no pipe either
        return 128 + signal.SIGPIPE
    finally:
        signal.signal(signal.SIGTERM, previous)
        logging.getLogger(__package__).removeHandler(handler)


def build_parser():
    """The parser of all commands; what it returns has the command's ``run(arguments) -> exit status``."""
    parser = argparse.ArgumentParser(prog='centernet', description='Evaluate a CenterNet (Objects as Points) checkpoint.')
    parser.add_argument('--version', action='version', version='centernet {}'.format(__version__))
    commands = parser.add_subparsers(title='commands', metavar='COMMAND', dest='command')
    commands.required = True
    for command in COMMANDS:
        sub = commands.add_parser(command.NAME, help=command.HELP, description=command.DESCRIPTION,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
        command.add_flags(sub)
        sub.set_defaults(run=command.run)
    return parser


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
