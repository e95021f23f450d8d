"""Says in words what a run found, how sure the model was, and what it knows."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...files.file_names import printable

MOST_NAMES = 12  # categories and labels that are named; more are counted
DOUBTFUL_SHARE = 0.25  # of the time in which something was found: so much of it unsure is worth a doubt
UNANSWERED_SHARE = 0.5  # of the time with sound: so much of it without a mask is worth a doubt


def listed(names: Sequence[str]) -> str:
    """Returns names in one line. Of a long list only the first are named. Names come from the files of a model, so
    their control characters are written as escapes."""
    more = len(names) - MOST_NAMES
    return ", ".join(map(printable, names[:MOST_NAMES])) + (f" and {more} more" if more > 0 else "")


def trained_names(config: Any) -> list[str]:
    """Returns the names of what a model was trained to recognise. The list is empty if its configuration does not say
    it."""
    if len(config.id2label) > 2:
        return [name for label, name in sorted(config.id2label.items()) if label]
    return list(getattr(config, "trained_categories", None) or [])


def label_times(summary: Mapping[str, Any]) -> list[str]:
    """Returns each label of a summary with its seconds, the longest first; nothing if there is only one label."""
    seconds: dict[str, float] = {}
    for segment in summary["segments"]:
        seconds[segment["label"]] = seconds.get(segment["label"], 0.0) + segment["end"] - segment["start"]
    if len(seconds) < 2:
        return []
    return [f"{label} {time:.1f} s" for label, time in sorted(seconds.items(), key=lambda item: -item[1])]


def doubts(summary: Mapping[str, Any]) -> list[str]:
    """Returns a sentence for each reason to doubt the masks."""
    heard, sounding, unsure = (summary[f"{name}_seconds"] for name in ("heard", "sounding", "unsure"))
    found = []
    if sounding and unsure >= DOUBTFUL_SHARE * sounding:
        found.append(
            f"in {unsure / sounding:.0%} of that time the model is unsure (its scores are below 0.7): what it sees or "
            "hears there is probably unlike what it was trained on, and the masks may be wrong"
        )
    if heard and heard - sounding >= UNANSWERED_SHARE * heard:
        found.append(
            f"there is sound for {heard:.1f} s, and for {heard - sounding:.1f} s of them nothing was found: what "
            "sounds is not in the picture, or the model does not know it"
        )
    return found


def report_lines(summary: Mapping[str, Any], config: Any, known: Sequence[str] = ()) -> list[str]:
    """Returns the lines that `auss segment` prints after a run.

    Args:
        summary: what `SoundingTimes.summary` returned.
        config: the configuration of the model.
        known: the names of what the model was trained to recognise, if its configuration does not say it.
    """
    seconds, sounding = summary["seconds"], summary["sounding_seconds"]
    if not sounding:
        lines = ["nothing was found to sound" if summary["heard_seconds"] else "there is no sound, so nothing sounds"]
    else:
        score = summary["score"]
        lines = [
            f"something sounds in {sounding / seconds:.0%} of the time ({sounding:.1f} of {seconds:.1f} s), on "
            f"{summary['share']:.1%} of the picture; score {score['median']:.2f} ({score['low']:.2f} to "
            f"{score['high']:.2f})"
        ]
        if labels := label_times(summary):
            lines.append(listed(labels))
    lines += [f"doubtful: {doubt}" for doubt in doubts(summary)]
    if names := trained_names(config) or list(known):
        lines.append(f"the model was trained on {listed(names)}: masks of anything else are doubtful")
    else:
        lines.append("the model does not say what it was trained on: masks of anything else are doubtful")
    return lines


__all__ = ["doubts", "trained_names", "report_lines"]
