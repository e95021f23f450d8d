"""Errors of auss are caught as Python's own errors, and stay complete when another process sends them."""

import ast
import pickle

import pytest

from auss.files.errors import AussError, DivergedError, InputError, MissingPackageError

from .. import layout

# These modules raise ValueError for arguments that only code passes. If a command raised such an error, auss itself
# would be at fault.
CHECKS_OF_CODE = {
    "hub/flat_code",
    "inference/media/containers/frame_times",
    "inference/media/video_writer",
    "processing/drawing",
    "train/data/augmentation",
    "train/loop/schedule",
}


@pytest.mark.parametrize(
    ("error", "builtin"),
    [(InputError, ValueError), (MissingPackageError, ImportError), (DivergedError, FloatingPointError)],
)
def test_errors_are_pythons_too_and_can_be_pickled(error, builtin):
    with pytest.raises(builtin, match="what was wrong"):
        raise error("what was wrong")
    assert issubclass(error, AussError)
    copy = pickle.loads(pickle.dumps(error("what was wrong")))
    assert type(copy) is error and str(copy) == "what was wrong"


def test_what_the_user_can_mend_is_raised_by_its_name():
    """The command line shows a plain ValueError with a traceback, as a fault of auss. Only code may cause one."""
    found = set()
    for module, path in layout.modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
                if node.exc.func.id in ("ValueError", "ImportError", "FloatingPointError"):
                    found.add(module)
    assert found == CHECKS_OF_CODE
