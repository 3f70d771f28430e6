"""Errors that a user can act on.

The command line prints a :class:`UserError` in one line, without a traceback, and exits with status 2.
Anything else that escapes is a defect of ours and shows its traceback.
"""


class UserError(Exception):
    """Something the user gave is wrong; the message names what, where, and what to do."""


class ArchitectureError(UserError):
    """An architecture's name or its options are not known."""


class CheckpointError(UserError):
    """A checkpoint cannot be read, or does not fit the network."""


class DataError(UserError):
    """Images or annotations are missing or cannot be read."""


class DeviceError(UserError):
    """A device was asked for that is not there or cannot be used."""


class OutputError(UserError):
    """A file or folder cannot be written."""


class OptionError(UserError):
    """Options contradict each other or are out of range."""


class ModelError(UserError):
    """An ONNX file cannot be read or run, or is no detector of this form."""


class FetchError(UserError):
    """A file cannot be fetched, is not what it should be, or the list of files is wrong."""


class Interrupted(Exception):
    """A run stopped before its end and can be resumed; the message says how far it came and how to resume it.

    ``__cause__`` is what stopped it: KeyboardInterrupt, SystemExit, or an error.
    """
