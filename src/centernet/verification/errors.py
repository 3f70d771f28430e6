"""What keeps two runners from being compared at all."""

from ..errors import UserError


class VerificationError(UserError):
    """The two cannot be compared, so they are not the same model."""


class OutputsError(VerificationError):
    """They have no output in common, or one lacks an output of the other."""


class ShapeError(VerificationError):
    """An output has another shape, or another number of classes."""


class NotFiniteError(VerificationError):
    """An output is infinite or not a number somewhere."""
