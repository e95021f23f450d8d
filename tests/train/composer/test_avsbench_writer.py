import csv
import io
import json
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from PIL import Image

from auss.files.stopping import Stopped, clean_stops
from auss.train.composer import avsbench_writer
from auss.train.composer.avsbench_writer import write_clip, write_tables
from auss.train.composer.composed_clips import ComposedClip


def clip(subset, split, name="one", category="bell"):
    rng = np.random.default_rng(0)
    return ComposedClip(
        name=name,
        category=category,
        frames=rng.integers(0, 256, (5, 12, 16, 3), dtype=np.uint8),
        masks=rng.random((5, 12, 16)) > 0.5,
        waveform=np.linspace(-1, 1, 80_000, dtype=np.float32),
        notes={"name": name, "subset": subset, "split": split, "objects": []},
    )


@pytest.mark.parametrize(
    ("subset", "split", "frame", "mask", "wav", "annotated"),
    [
        ("s4", "train", "train/bell/one/one_{}.png", "train/bell/one/one_{}.png", "train/bell/one.wav", 1),
        ("s4", "val", "val/bell/one/one_{}.png", "val/bell/one/one_{}.png", "val/bell/one.wav", 5),
        ("ms3", "train", "one/one.mp4_{}.png", "train/one/one_{}.png", "train/one.wav", 5),
    ],
)
def test_every_file_lies_where_avsbench_has_it(tmp_path, subset, split, frame, mask, wav, annotated):
    written = clip(subset, split)
    write_clip(tmp_path, written)
    data = tmp_path / {"s4": "Single-source", "ms3": "Multi-sources"}[subset] / f"{subset}_data"
    for number in range(1, 6):
        with Image.open(data / "visual_frames" / frame.format(number)) as image:
            assert np.array_equal(np.asarray(image), written.frames[number - 1])
        path = data / "gt_masks" / mask.format(number)
        assert path.exists() == (number <= annotated)
        if path.exists():
            with Image.open(path) as image:
                assert image.mode == "L" and np.array_equal(np.asarray(image), written.masks[number - 1] * 255)
    wave, rate = soundfile.read(data / "audio_wav" / wav)
    info = soundfile.info(data / "audio_wav" / wav)
    assert (rate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
    assert wave == pytest.approx(written.waveform, abs=1e-4)
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == 5 + annotated + 1


def test_tables_list_each_subset_in_order_and_keep_odd_names(tmp_path):
    notes = [clip("s4", "val", "b").notes, clip("ms3", "test", "c").notes, clip("s4", "train", "a").notes]
    write_tables(tmp_path, notes, {"a": 'bell, "large"', "b": "Glocke ü", "c": "x"}, {"seed": 3, "size": 12})
    with open(tmp_path / "Single-source" / "s4_meta_data.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["category"], row["split"]) for row in rows] == [
        ("b", "Glocke ü", "val"),
        ("a", 'bell, "large"', "train"),
    ]
    with open(tmp_path / "Multi-sources" / "ms3_meta_data.csv", encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["name", "start", "split"], ["c", "0", "test"]]
    about = json.loads((tmp_path / "annotations.json").read_text(encoding="utf-8"))
    assert (about["source"], about["seed"], about["size"]) == ("auss compose", 3, 12)
    assert [video["name"] for video in about["videos"]] == ["b", "c", "a"]


def test_a_signal_while_a_sound_is_written_is_not_lost(tmp_path, monkeypatch):
    """libsndfile calls `write` of the file, and an error in there does not reach the caller."""

    class Signalled(io.BytesIO):
        def write(self, content):
            if not self.tell():
                signal.raise_signal(signal.SIGTERM)
            return super().write(content)

    monkeypatch.setattr(avsbench_writer, "io", SimpleNamespace(BytesIO=Signalled))
    with pytest.raises(Stopped), clean_stops():
        write_clip(tmp_path, clip("s4", "train"))
