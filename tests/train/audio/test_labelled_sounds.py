"""Tests sounds and their categories from S4, from AVSS's label pictures and from folders."""

import numpy as np
import pytest
import soundfile
import torch

from auss.processing.feature_extraction_auss import AussFeatureExtractor
from auss.train.audio.labelled_sounds import load_labelled_sounds

from ..conftest import save_sound


@pytest.fixture
def extractor():
    return AussFeatureExtractor(num_audio_examples=2)


def test_s4s_sounds_have_the_clips_categories(s4_root, extractor):
    names, train, validation = load_labelled_sounds(str(s4_root), "s4", extractor)
    assert names == ["bell", "dog"]
    assert train.features.shape == (2, 2, 96, 64) and train.mask.shape == (2, 2)
    assert train.targets.tolist() == [[0, 1], [1, 0]] and len(validation) == 2


def test_avss_sounds_have_the_classes_of_their_masks(avss_root, extractor, monkeypatch):
    import auss.train.audio.labelled_sounds as module

    real = module.load_avsbench
    # The tiny set has no validation split.
    monkeypatch.setattr(module, "load_avsbench", lambda root, name, split: real(root, name, "train"))
    names, train, _ = load_labelled_sounds(str(avss_root), "avss", extractor)
    assert len(names) == 70 and "background" not in names
    rows = real(avss_root, "avss", "train")
    expected = []
    for row in module.SeededRows(rows):
        labels = module.decode_clip(row, row["annotated_frames"], 71, with_audio=False)["labels"]
        present = sorted(set(labels.unique().tolist()) - {0, 255})
        if present:
            expected.append([label - 1 for label in present])
    assert expected and [target.nonzero().flatten().tolist() for target in train.targets] == expected
    torch.testing.assert_close(train.targets.sum(1), torch.ones(len(train)))


def test_folders_name_categories_and_every_fifth_recording_validates(tmp_path, extractor):
    for index in range(5):
        save_sound(tmp_path / "low" / f"{index}.wav", 3.0, frequency=200 + index)
    save_sound(tmp_path / "high" / "deeper" / "a.wav", 3.0, frequency=3000)
    (tmp_path / "high" / "notes.txt").write_text("no sound")
    save_sound(tmp_path / ".trash" / "b.wav")
    save_sound(tmp_path / "low" / "._5.wav")
    names, train, validation = load_labelled_sounds(str(tmp_path), "folder", extractor)
    assert names == ["high", "low"]
    assert train.targets.argmax(1).tolist() == [0, 1, 1, 1, 1] and validation.targets.argmax(1).tolist() == [1]
    assert train.mask.all()


def test_a_short_recording_is_repeated_and_of_a_long_one_the_middle_is_heard(tmp_path, extractor):
    save_sound(tmp_path / "a" / "short.wav", 0.3)
    silence, tone = np.zeros(16_000 * 4), 0.5 * np.sin(np.arange(16_000 * 3) / 3)
    (tmp_path / "b").mkdir()
    soundfile.write(tmp_path / "b" / "long.wav", np.concatenate([silence, tone, silence]), 16_000)
    _, train, validation = load_labelled_sounds(str(tmp_path), "folder", extractor)
    assert train.mask.all() and len(validation) == 0
    loudest = train.features.amax(dim=(2, 3))  # the largest value in each example of both sounds
    assert (loudest > 0).all()


@pytest.mark.parametrize("categories", [(), ("one",)])
def test_one_category_teaches_nothing(tmp_path, extractor, categories):
    for category in categories:
        save_sound(tmp_path / category / "a.wav")
    with pytest.raises(ValueError, match="two categories at least"):
        load_labelled_sounds(str(tmp_path), "folder", extractor)


def test_a_folder_that_is_not_there_is_named(tmp_path, extractor):
    with pytest.raises(FileNotFoundError, match="no such|there is no .*nowhere"):
        load_labelled_sounds(str(tmp_path / "nowhere"), "folder", extractor)
