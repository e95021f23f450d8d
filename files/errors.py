"""Errors that the user can mend. The command line shows their message alone, and a traceback of every other error.

Each is also the error of Python that it was before it had a name of its own, so that `except ValueError` still holds.
"""


class AussError(Exception):
    """What all errors of this module are."""


class InputError(AussError, ValueError):
    """A file, a folder, an option or an argument is not what is accepted; the message says what is."""


class MissingPackageError(AussError, ImportError):
    """A package is needed that is not installed; the message says how to install it."""


class DivergedError(AussError, FloatingPointError):
    """A training run computes numbers that are infinite or none; the message says at which step and on which clips."""


__all__ = ["AussError", "DivergedError", "InputError", "MissingPackageError"]
