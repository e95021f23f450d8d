"""Loads the fixtures of `fixtures.py` in the processes that run tests."""

import gc

import pytest

# This folder runs the tests of Transformers itself. `make conformance` runs them with their own settings.
collect_ignore = ["conformance"]


def only_distributes(config: pytest.Config) -> bool:
    """Whether this process only hands out tests to the processes of pytest-xdist."""
    return config.getoption("dist", "no") != "no" and not config.option.collectonly


def pytest_configure(config: pytest.Config) -> None:
    if only_distributes(config):  # the imports below take seconds
        return
    # Every import makes objects that stay, so looking for garbage meanwhile costs seconds and finds nothing.
    gc.disable()
    from . import fixtures

    config.pluginmanager.register(fixtures)


def pytest_collection_finish() -> None:
    """Leaves the half million objects of the libraries out of every later search for garbage, which takes 0.3 s."""
    gc.freeze()
    gc.enable()
