"""Writes composed clips in the folder layout of AVSBench-object (design section 5), file by file."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from ...files.stopping import stops_deferred
from ..recorded_results import COMPOSED_FILE
from .composed_clips import SUBSETS, ComposedClip
from .synthesised_sounds import SAMPLING_RATE

FOLDERS = {"s4": "Single-source", "ms3": "Multi-sources"}
SOURCE = "auss compose"
COLUMNS = {"s4": ("name", "start", "category", "split"), "ms3": ("name", "start", "split")}


def made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def wav_bytes(waveform: np.ndarray, sampling_rate: int) -> bytes:
    """Returns a sound, (samples,) or (samples, channels) in [-1, 1], as the content of a wav file of 16 bits."""
    content = io.BytesIO()  # libsndfile does not tell why it cannot write a file, for example when the disk is full
    # libsndfile calls Python for every write to memory, and an error that a signal raises there would be lost.
    with stops_deferred():
        soundfile.write(content, waveform, sampling_rate, subtype="PCM_16", format="WAV")
    return content.getvalue()


def write_clip(root: Path, clip: ComposedClip) -> None:
    """Write a clip's five frames, its masks and its wav. Training clips of S4 get only the first mask."""
    subset, split = clip.notes["subset"], clip.notes["split"]
    data = root / FOLDERS[subset] / f"{subset}_data"
    home = f"{split}/{clip.category}" if subset == "s4" else split
    stem = f"{home}/{clip.name}/{clip.name}" if subset == "s4" else f"{clip.name}/{clip.name}.mp4"
    for number, (frame, mask) in enumerate(zip(clip.frames, clip.masks, strict=True), start=1):
        Image.fromarray(frame).save(made(data / "visual_frames" / f"{stem}_{number}.png"), compress_level=3)
        if subset == "ms3" or split != "train" or number == 1:
            picture = Image.fromarray(mask.astype(np.uint8) * 255)
            picture.save(made(data / "gt_masks" / home / clip.name / f"{clip.name}_{number}.png"))
    made(data / "audio_wav" / home / f"{clip.name}.wav").write_bytes(wav_bytes(clip.waveform, SAMPLING_RATE))


def write_tables(root: Path, notes: list[dict], categories: dict[str, str], about: dict) -> None:
    """Write the two meta_data.csv and annotations.json.

    Args:
        notes: the notes of every clip, in the order of the tables.
        categories: the category of every clip, by the name of the clip.
        about: the facts about the whole set for annotations.json: seed, size and so on.
    """
    for subset in SUBSETS:
        with open(made(root / FOLDERS[subset] / f"{subset}_meta_data.csv"), "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS[subset])
            for clip in notes:
                if clip["subset"] == subset:
                    known = {"name": clip["name"], "start": 0, "split": clip["split"]}
                    known["category"] = categories[clip["name"]]
                    writer.writerow([known[column] for column in COLUMNS[subset]])
    text = json.dumps({"source": SOURCE, **about, "videos": notes}, ensure_ascii=False)
    (root / COMPOSED_FILE).write_text(text + "\n", encoding="utf-8")


__all__ = ["COMPOSED_FILE", "FOLDERS", "SOURCE", "write_clip", "write_tables"]
