"""Errors that the user can mend. The command line shows their message alone, and a traceback of every other error.

Each class but `AussError` is also a subclass of one of Python's own errors. For example, `except ValueError` catches
an `InputError`.
"""


class AussError(Exception):
    """The base class of all errors in this module."""


class InputError(AussError, ValueError):
    """A file, a folder, an option or an argument is not accepted. The message says what is accepted."""


class MissingPackageError(AussError, ImportError):
    """A package that is needed is not installed. The message says how to install the package."""


class DivergedError(AussError, FloatingPointError):
    """A training run computes infinite or NaN values. The message names the step and the clips."""


__all__ = ["AussError", "DivergedError", "InputError", "MissingPackageError"]
