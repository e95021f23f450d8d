"""The log-mels of a data set that are computed once, before training, and their file."""

import sys
from pathlib import Path

import pytest
import soundfile
import torch
from torch.utils.data import Subset

from auss.train.data import collator as collator_module
from auss.train.data.collator import AussDataCollator, precompute_input_features
from auss.train.data.rows import SeededRows

from .conftest import assert_equal_batches, is_silent


def test_precomputed_features_replace_the_sound(processor, train_rows, monkeypatch):
    plain = AussDataCollator(processor, mute_probability=0.5, train=True)
    expected = plain(list(train_rows))
    features = precompute_input_features(train_rows, processor.feature_extractor)
    assert features[0].shape == (2, 5, 96, 64) and features[1].shape == (2, 5)
    monkeypatch.setattr("auss.train.data.clips.decode_audio", lambda *_: pytest.fail("the sound was read"))
    rows = SeededRows(train_rows.dataset, seed=1, input_features=features)
    assert_equal_batches(plain(list(rows)), expected)
    silent = AussDataCollator(processor, muted=True)(list(rows))
    assert is_silent(silent["input_features"])
    # Features of another length, and as lists, as a data set would store them.
    row = {**rows[0], "input_features": features[0][0, :3].tolist(), "input_features_mask": None}
    batch = AussDataCollator(processor)([row])
    assert batch["input_features_mask"].tolist() == [[1, 1, 1, 0, 0]]
    torch.testing.assert_close(batch["input_features"][0, :3], features[0][0, :3])


def test_precomputed_features_are_a_mapped_file_that_later_runs_find(processor, train_rows, tmp_path, monkeypatch):
    folder = tmp_path / "log-mels"
    extractor = processor.feature_extractor
    in_memory = precompute_input_features(list(train_rows), extractor)
    first = precompute_input_features(train_rows, extractor, folder)
    for found, expected in zip(first, in_memory, strict=True):
        assert found.dtype == expected.dtype and torch.equal(found, expected)
    (file,) = folder.iterdir()
    assert str(file) in Path("/proc/self/maps").read_text() or sys.platform != "linux"
    with monkeypatch.context() as patch:
        patch.setattr(collator_module, "decode_audio", lambda *_: pytest.fail("the sound was read again"))
        again = precompute_input_features(train_rows, extractor, folder)
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    # If the sound in a file changes, a new file of log-mels is made.
    path = Path(train_rows[0]["audio"]["path"])
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples[: len(samples) // 2], rate)
    changed = precompute_input_features(train_rows, extractor, folder)
    assert not torch.equal(changed[0][0], first[0][0]) and torch.equal(changed[0][1], first[0][1])
    assert len(list(folder.iterdir())) == 2


def test_a_file_of_log_mels_is_replaced_only_if_its_size_is_wrong(processor, train_rows, tmp_path, monkeypatch):
    folder, extractor = tmp_path / "log-mels", processor.feature_extractor
    expected = precompute_input_features(train_rows, extractor, folder)[0].clone()
    (file,) = folder.iterdir()
    content = file.read_bytes()
    file.unlink()  # the earlier result still has the file mapped
    file.write_bytes(content[:-100])
    assert torch.equal(precompute_input_features(train_rows, extractor, folder)[0], expected)
    assert file.read_bytes() == content
    # Two processes that start at the same time both find no file. The later one keeps the file of the earlier one.
    original = collator_module.each_input_features

    def meanwhile(*arguments):
        file.write_bytes(content)  # by another process
        yield from original(*arguments)

    file.unlink()
    monkeypatch.setattr(collator_module, "each_input_features", meanwhile)
    precompute_input_features(train_rows, extractor, folder)
    kept = file.stat().st_ino
    assert [path.stat().st_ino for path in folder.iterdir()] == [kept] and file.read_bytes() == content


def test_another_hop_or_a_subset_finds_no_file_of_log_mels(processor, train_rows, tmp_path, monkeypatch):
    folder, extractor = tmp_path / "log-mels", processor.feature_extractor
    whole, _ = precompute_input_features(train_rows, extractor, folder)
    subset, _ = precompute_input_features(Subset(train_rows, [1, 0]), extractor, folder)
    assert torch.equal(subset, whole[[1, 0]]) and len(list(folder.iterdir())) == 1
    monkeypatch.setattr(collator_module, "SETTINGS", (16_000, 400, 80))
    precompute_input_features(train_rows, extractor, folder)
    assert len(list(folder.iterdir())) == 2


def test_a_bad_sound_leaves_no_file_of_log_mels(processor, train_rows, tmp_path):
    folder = tmp_path / "log-mels"
    Path(train_rows[1]["audio"]["path"]).write_bytes(b"no sound")
    with pytest.raises(ValueError, match="is not a sound file"):
        precompute_input_features(train_rows, processor.feature_extractor, folder)
    assert list(folder.iterdir()) == []
