"""All areas of the fuzzing test, how many inputs each gets, and the run of an area."""

from collections import Counter
from collections.abc import Iterator

from . import array_areas, data_areas, folder_areas, media_areas, network_areas
from .sources import Sources
from .trial import FAULTS, Outcome, Verdict, judge

AREAS = array_areas.AREAS | network_areas.AREAS | media_areas.AREAS | data_areas.AREAS | folder_areas.AREAS
# In the long form, and in the short one.
COUNTS = {
    "feature extractor": (150, 25),
    "video processor": (150, 25),
    "processor": (100, 20),
    "post-processing": (100, 20),
    "configuration": (150, 20),
    "model": (150, 20),
    "pipeline": (150, 21),
    "segment": (240, 18),
    "evaluate": (90, 5),
    "train": (110, 6),
    "prepare": (100, 8),
    "compose": (90, 9),
    "--resume": (70, 3),
    "model folders": (120, 9),
}


def verdicts(area: str, sources: Sources, count: int, seed: int) -> Iterator[Verdict]:
    """The verdicts on so many inputs of an area."""
    for trial in AREAS[area](sources, count, seed):
        yield judge(trial)


def run_area(area: str, sources: Sources, count: int, seed: int) -> tuple[dict[str, int], list[str]]:
    """How many inputs of an area had each outcome, and the faults in words."""
    counts: Counter[str] = Counter({outcome.value: 0 for outcome in Outcome})
    faults = []
    for verdict in verdicts(area, sources, count, seed):
        counts[verdict.outcome.value] += 1
        if verdict.outcome in FAULTS:
            faults.append(f"{verdict.outcome.value}: {verdict.trial.name}: {verdict.words[:500]}")
    return dict(counts), faults


__all__ = ["AREAS", "COUNTS", "run_area", "verdicts"]
