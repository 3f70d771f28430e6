"""Errors that users can act on.

The command line prints a :class:`UserError` on one line, without a traceback, and exits with status 2. Any
other exception that escapes is a bug and keeps its traceback.
"""


class UserError(Exception):
    """Invalid input or options; the message names what is wrong, where, and what to do."""


class ArchitectureError(UserError):
    """Unknown architecture, or invalid options for one."""


class CheckpointError(UserError):
    """A checkpoint cannot be read, or does not fit the network."""


class DataError(UserError):
    """Images or annotations are missing or cannot be read."""


class DeviceError(UserError):
    """The requested device is missing or unusable."""


class OutputError(UserError):
    """A file or folder cannot be written."""


class OptionError(UserError):
    """Options contradict each other or are out of range."""


class ModelError(UserError):
    """An ONNX file cannot be read or run, or is not a CenterNet detector."""


class FetchError(UserError):
    """A file cannot be downloaded or is not the expected one, or the list of files is invalid."""


class VerificationError(UserError):
    """Two networks cannot be compared, so they are not the same model."""


class OutputsError(VerificationError):
    """The networks have no outputs in common, or one of them lacks an output."""


class ShapeError(VerificationError):
    """An output has a different shape or number of classes."""


class NotFiniteError(VerificationError):
    """An output contains infinities or NaNs."""


class Interrupted(Exception):
    """A run stopped early and can be resumed; the message gives its progress and how to resume it.

    ``__cause__`` is what stopped it: KeyboardInterrupt, SystemExit, or an error.
    """
