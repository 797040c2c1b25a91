"""One exception per status of the C interface."""

from __future__ import annotations


class LoragenError(Exception):
    """A call of the library failed; the message says what was wrong, where, and what was expected."""

    status: int = 0


class InvalidArgumentError(LoragenError, ValueError):
    status = 1


class FileError(LoragenError, OSError):
    """A file could not be opened, read, written or renamed."""

    status = 2


class FormatError(LoragenError, ValueError):
    """A file's bytes are not what its format requires."""

    status = 3


class VersionError(LoragenError):
    """A file of another version of a format that this library knows."""

    status = 4


class UnsupportedError(LoragenError, NotImplementedError):
    """Valid, but not something that this library does."""

    status = 5


class MismatchError(LoragenError, ValueError):
    """Adapters, conditions or files that do not fit together."""

    status = 6


class NonFiniteError(LoragenError, ValueError):
    """NaN or infinity where a finite number is required."""

    status = 7


class OutOfMemoryError(LoragenError, MemoryError):
    status = 8


class CancelledError(LoragenError):
    """A callback asked to stop."""

    status = 9


class InternalError(LoragenError, RuntimeError):
    """A defect of the library."""

    status = 10


_BY_STATUS: dict[int, type[LoragenError]] = {
    subclass.status: subclass for subclass in LoragenError.__subclasses__()
}


def error_for(status: int, message: str) -> LoragenError:
    """The exception of a status; a status that a newer library invented is a plain LoragenError."""
    error = _BY_STATUS.get(status, LoragenError)(message)
    error.status = status
    return error
