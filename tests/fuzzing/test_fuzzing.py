"""Malformed, extreme and damaged inputs of everything that takes any: none may hang, end in a traceback, be refused
without its name, or give a wrong answer without a word where the input allows to notice it.

The long form has more than 1,700 inputs and writes its counts where `AUSS_FUZZING_COUNTS` says; `report.py` puts them
into docs/reliability.md. Every input is made from the seed and its number, both of which a failure names.
"""

import json
import os
import time
import warnings
from pathlib import Path

import pytest

from .areas import AREAS, COUNTS, run_area
from .sources import Sources

SEED = 0


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """In a folder of its own, where Transformers, `datasets` and matplotlib may write, too."""
    import datasets
    import huggingface_hub.constants

    folder = tmp_path_factory.mktemp("fuzzing")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # names of the Hub come up as models
        patch.chdir(folder)
        yield Sources(folder / "sources")


def test_every_area_has_its_counts():
    assert COUNTS.keys() == AREAS.keys()
    assert sum(long for long, _ in COUNTS.values()) >= 1000


@pytest.mark.parametrize("area", COUNTS)
def test_short_form(area, sources):
    counts, faults = run_area(area, sources, COUNTS[area][1], SEED)
    assert sum(counts.values()) == COUNTS[area][1] and not faults, "\n".join(faults)


@pytest.mark.slow
@pytest.mark.parametrize("area", COUNTS)
def test_long_form(area, sources):
    began, processor = time.monotonic(), time.process_time()
    counts, faults = run_area(area, sources, COUNTS[area][0], SEED)
    path = os.environ.get("AUSS_FUZZING_COUNTS")
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            times = {"seconds": time.monotonic() - began, "cpu": time.process_time() - processor}
            file.write(json.dumps({"area": area, **times, **counts}) + "\n")
    assert sum(counts.values()) == COUNTS[area][0] and not faults, "\n".join(faults)
