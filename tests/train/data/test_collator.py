import math
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from auss.processing.feature_extraction_auss import AussFeatureExtractor
from auss.processing.processing_auss import AussProcessor
from auss.processing.video_processing_auss import AussVideoProcessor
from auss.train.data import collator as collator_module
from auss.train.data.augmentation import ClipAugmentation, ClipMixing, mix_log_mels
from auss.train.data.avsbench import load_avsbench
from auss.train.data.clips import decode_clip
from auss.train.data.collator import AussDataCollator, precompute_input_features, resize_labels
from auss.train.data.rows import SeededRows

from .conftest import assert_equal_batches, is_silent

INPUTS = {"pixel_values", "input_features", "input_features_mask", "frame_examples", "labels"}


def test_an_evaluation_batch_keeps_the_masks_size(processor, whole_rows):
    batch = AussDataCollator(processor, keep_ids=True)(list(whole_rows))
    assert batch["pixel_values"].shape == (2, 5, 3, 32, 32) and batch["pixel_values"].dtype == torch.float32
    assert batch["input_features"].shape == (2, 5, 96, 64) and batch["input_features"].dtype == torch.float32
    assert torch.equal(batch["input_features_mask"], torch.ones(2, 5, dtype=torch.int64))
    assert batch["labels"].shape == (2, 5, 16, 24) and batch["labels"].dtype == torch.int64
    assert (batch["clip_id"], batch["category"]) == (["test_0", "test_1"], ["dog", "bell"])


def test_the_processor_prepares_what_it_would_alone(processor, whole_rows):
    batch = AussDataCollator(processor)(list(whole_rows))
    clips = [decode_clip(row) for row in whole_rows]
    expected = processor(
        videos=[clip["frames"] for clip in clips],
        audio=[clip["waveform"] for clip in clips],
        sampling_rate=16_000,
        return_tensors="pt",
    )
    for name in ("pixel_values", "input_features", "input_features_mask"):
        torch.testing.assert_close(batch[name], expected[name])
    assert torch.equal(batch["labels"], torch.stack([clip["labels"] for clip in clips]))
    assert batch.keys() == INPUTS


def test_frames_are_told_their_example_whichever_are_drawn(processor, whole_rows, train_rows):
    every = AussDataCollator(processor)(list(whole_rows))
    assert every["input_features_mask"].all()
    assert every["frame_examples"].tolist() == [[0, 1, 2, 3, 4]] * len(whole_rows)
    collator = AussDataCollator(processor, frames_per_clip=2, train=True)
    for row in whole_rows:
        chosen = collator._choose_frames(row, torch.Generator().manual_seed(7))
        assert collator([{**row, "augmentation_seed": 7}])["frame_examples"].tolist() == [chosen]


@pytest.mark.parametrize("seconds", [4.81, 4.0, 2.0, 0.3])
def test_a_sound_that_ends_before_the_frames_repeats_its_last_example(processor, whole_rows, seconds):
    """The authors' `extract_one_log_mel` does the same, so that each frame has its own example."""
    waveform = np.random.default_rng(0).normal(size=round(seconds * 16_000)).astype(np.float32)
    row = {**whole_rows[0], "audio": {"array": waveform, "sampling_rate": 16_000}}
    batch = AussDataCollator(processor)([row])
    own = processor.feature_extractor(waveform, 16_000, return_tensors="pt")["input_features"][0]
    assert 1 <= len(own) < 5 and torch.equal(batch["input_features"][0, : len(own)], own)
    assert torch.equal(batch["input_features"][0, len(own) :], own[-1:].expand(5 - len(own), -1, -1))
    assert batch["input_features_mask"].tolist() == [[1] * 5]
    assert batch["frame_examples"].tolist() == [[0, 1, 2, 3, 4]]
    features, masks = precompute_input_features([row], processor.feature_extractor)
    assert torch.equal(features, batch["input_features"]) and torch.equal(masks, batch["input_features_mask"])


def test_frames_closer_than_a_second_share_the_examples_of_a_short_sound(processor, whole_rows):
    waveform = np.random.default_rng(0).normal(size=2 * 16_000).astype(np.float32)
    frames = whole_rows[0]["frames"] + whole_rows[1]["frames"]  # ten frames, more than the model takes examples
    row = {"clip_id": "own", "frames": frames, "audio": {"array": waveform, "sampling_rate": 16_000}}
    batch = AussDataCollator(processor)([row])
    assert batch["input_features_mask"].tolist() == [[1, 1, 0, 0, 0]]
    assert batch["frame_examples"].tolist() == [[0] * 5 + [1] * 5]


def test_a_training_batch_has_labels_at_the_pixels_size(processor, train_rows):
    rows = list(train_rows)
    plain = AussDataCollator(processor, train=True)(rows)
    assert plain["labels"].shape == (2, 5, 32, 32) and plain["pixel_values"].shape == (2, 5, 3, 32, 32)
    assert (plain["labels"][:, 0] <= 1).all() and (plain["labels"][:, 1:] == 255).all()
    augmented = AussDataCollator(processor, ClipAugmentation((32, 32)), train=True)(rows)
    assert augmented["labels"].shape == (2, 5, 32, 32)
    assert not torch.equal(augmented["pixel_values"], plain["pixel_values"])


@pytest.mark.parametrize("row_format", ["torch", "numpy", "arrow", "pandas"])
def test_rows_of_every_format_give_the_same_batch(processor, s4_root, row_format):
    dataset = load_avsbench(s4_root, "s4", "train")
    formatted = dataset.with_format(row_format)
    collator = AussDataCollator(processor, keep_ids=True)
    assert_equal_batches(collator([formatted[0], formatted[1]]), collator([dataset[0], dataset[1]]))


def test_decoded_rows_give_the_same_batch(processor, s4_root, whole_rows):
    dataset = load_avsbench(s4_root, "s4", "test")
    collator = AussDataCollator(processor)
    assert_equal_batches(collator([dataset[0], dataset[1]]), collator(list(whole_rows)))


def test_one_frame_of_a_train_clip_is_the_annotated_one_and_only_it_is_opened(processor, train_rows, monkeypatch):
    taken = []

    def watch(row, frame_indices, **options):
        taken.append(frame_indices)
        return decode_clip(row, frame_indices, **options)

    monkeypatch.setattr(collator_module, "decode_clip", watch)
    batch = AussDataCollator(processor, frames_per_clip=1, train=True)(list(train_rows))
    assert taken == [[0], [0]]
    assert batch["pixel_values"].shape == (2, 1, 3, 32, 32) and (batch["labels"] <= 1).all()


def test_annotated_frames_come_first_then_others_in_time_order(processor):
    row = {"frames": [None] * 6, "annotated_frames": [1, 4]}
    one, two, four = (AussDataCollator(processor, frames_per_clip=count)._choose_frames for count in (1, 2, 4))
    draws = [(choose, torch.Generator().manual_seed(seed)) for choose in (one, two, four) for seed in range(40)]
    chosen = [choose(row, generator) for choose, generator in draws]
    assert {tuple(indices) for indices in chosen[:40]} == {(1,), (4,)}
    assert {tuple(indices) for indices in chosen[40:80]} == {(1, 4)}
    assert all(indices == sorted(set(indices)) and {1, 4} < set(indices) for indices in chosen[80:])
    assert len({tuple(indices) for indices in chosen[80:]}) == 6  # every pair of the four others
    assert AussDataCollator(processor, frames_per_clip=9)._choose_frames(row, torch.Generator()) is None


def test_the_rows_seed_decides_everything(processor, train_rows):
    collator = AussDataCollator(
        processor, ClipAugmentation((32, 32)), frames_per_clip=2, mute_probability=0.5, train=True
    )
    rows = list(train_rows)
    torch.manual_seed(1)
    first = collator(rows)
    torch.manual_seed(2)
    assert_equal_batches(first, collator(rows))
    # A clip does not depend on its batch.
    assert torch.equal(collator([rows[1]])["pixel_values"][0], first["pixel_values"][1])
    train_rows.set_epoch(1)
    assert not torch.equal(first["pixel_values"], collator(list(train_rows))["pixel_values"])


def test_without_a_seed_the_global_generator_decides(processor, train_rows):
    collator = AussDataCollator(processor, ClipAugmentation((32, 32)), train=True)
    rows = [{name: value for name, value in row.items() if name != "augmentation_seed"} for row in train_rows]
    batches = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        batches.append(collator(rows))
    assert_equal_batches(batches[0], batches[1])
    assert not torch.equal(batches[0]["pixel_values"], batches[2]["pixel_values"])


def test_workers_make_the_same_batches(processor, train_rows):
    collator = AussDataCollator(processor, ClipAugmentation((32, 32)), frames_per_clip=1, train=True, keep_ids=True)
    alone, helped = (
        list(DataLoader(train_rows, batch_size=1, collate_fn=collator, num_workers=workers)) for workers in (0, 1)
    )
    for first, second in zip(alone, helped, strict=True):
        assert_equal_batches(first, second)
    assert_equal_batches(pickle.loads(pickle.dumps(collator))(list(train_rows)), collator(list(train_rows)))


def test_muting_silences_sound_and_labels_but_not_what_is_not_annotated(processor, train_rows):
    rows = list(train_rows)
    muted = AussDataCollator(processor, mute_probability=1.0, train=True)(rows)
    plain = AussDataCollator(processor, train=True)(rows)
    assert is_silent(muted["input_features"])
    assert plain["labels"][:, 0].max() == 1 and (muted["labels"][:, 0] == 0).all()
    assert (muted["labels"][:, 1:] == 255).all()
    assert torch.equal(muted["pixel_values"], plain["pixel_values"])


def test_some_clips_are_muted_and_augmentation_does_not_notice(processor, train_rows):
    options = dict(augmentation=ClipAugmentation((32, 32)), frames_per_clip=1, train=True)
    sometimes, never = (
        AussDataCollator(processor, mute_probability=0.4, **options),
        AussDataCollator(processor, **options),
    )
    muted = 0
    for epoch in range(20):
        train_rows.set_epoch(epoch)
        first, second = sometimes(list(train_rows)), never(list(train_rows))
        assert torch.equal(first["pixel_values"], second["pixel_values"])
        muted += sum(map(is_silent, first["input_features"]))
    assert 6 <= muted <= 26  # of 40 clips


def test_muted_keeps_the_labels(processor, whole_rows):
    muted, plain = (AussDataCollator(processor, muted=value)(list(whole_rows)) for value in (True, False))
    assert torch.equal(muted["labels"], plain["labels"]) and plain["labels"].max() == 1
    assert is_silent(muted["input_features"]) and not is_silent(plain["input_features"])


def test_sounds_of_other_lengths_and_rates_come_as_t_examples(processor, whole_rows):
    time = np.arange(48_000 * 2) / 48_000
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    rows = [
        whole_rows[0],
        {**whole_rows[1], "audio": {"array": tone, "sampling_rate": 48_000}},
        {**whole_rows[1], "audio": {"array": np.tile(tone, 4), "sampling_rate": 48_000}},
    ]
    batch = AussDataCollator(processor)(rows)
    assert batch["input_features"].shape == (3, 5, 96, 64)
    assert batch["input_features_mask"].tolist() == [[1] * 5] * 3


def test_shorter_clips_are_padded_and_told(processor, whole_rows):
    short = {**whole_rows[1], "frames": whole_rows[1]["frames"][:3], "masks": whole_rows[1]["masks"][:3]}
    short["annotated_frames"] = [0, 1, 2]
    rows = [short, whole_rows[0]]
    batch = AussDataCollator(processor, keep_ids=True)(rows)
    assert batch.keys() == INPUTS | {"frame_mask", "clip_id", "category"}
    assert batch["frame_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    for place, row in enumerate(rows):
        alone, count = AussDataCollator(processor)([row]), len(row["frames"])
        assert "frame_mask" not in alone
        for name in ("pixel_values", "labels", "frame_examples"):
            assert torch.equal(batch[name][place, :count], alone[name][0]), name
        for name in ("input_features", "input_features_mask"):
            assert torch.equal(batch[name][place], alone[name][0]), name
    assert (batch["labels"][0, 3:] == 255).all() and not batch["pixel_values"][0, 3:].any()
    assert "frame_mask" not in AussDataCollator(processor, frames_per_clip=3)(rows)


def test_masks_of_several_sizes_keep_theirs_but_in_training(processor, whole_rows):
    small = {**whole_rows[1], "masks": [Image.fromarray(np.zeros((4, 6), np.uint8))] * 5}
    labels = AussDataCollator(processor)([whole_rows[0], small])["labels"]
    assert [clip.shape for clip in labels] == [(5, 16, 24), (5, 4, 6)]
    assert AussDataCollator(processor, train=True)([whole_rows[0], small])["labels"].shape == (2, 5, 32, 32)


def test_frames_that_stay_of_several_sizes_are_refused_by_name(processor, whole_rows):
    processor.video_processor.do_resize = False
    small = [Image.fromarray(np.zeros((4, 6, 3), np.uint8))] * 3
    row = {**whole_rows[1], "frames": small, "masks": [], "annotated_frames": []}
    with pytest.raises(ValueError, match=r"one size after processing, got \(height, width\) \[\(4, 6\), \(16"):
        AussDataCollator(processor)([whole_rows[0], row])


@pytest.mark.parametrize("kind", [FileNotFoundError, PermissionError, OSError, ValueError])
def test_errors_name_the_clip(processor, whole_rows, monkeypatch, kind):
    def fail(*_, **__):
        raise kind("frames file x.png cannot be read")

    monkeypatch.setattr(collator_module, "decode_clip", fail)
    with pytest.raises(kind, match="clip 'test_1': frames file x.png cannot be read"):
        AussDataCollator(processor)([whole_rows[1]])


def test_a_missing_mask_is_named_with_its_clip(processor, whole_rows):
    row = {**whole_rows[0], "masks": [{"bytes": None, "path": "/nowhere/mask.png"}] * 5}
    with pytest.raises(FileNotFoundError, match="test_0.*mask.png"):
        AussDataCollator(processor)([row])


def test_avss_classes(processor, avss_root):
    """The batch has clips of 5 and of 10 frames. The clip of v1s annotates only its first frame."""
    rows = SeededRows(load_avsbench(avss_root, "avss", "train"))
    batch = AussDataCollator(processor, num_labels=71)(list(rows))
    assert set(batch["labels"].unique().tolist()) == {0, 1, 70, 255}
    assert batch["frame_mask"].sum(1).tolist() == [5, 5, 10]
    annotated = (batch["labels"] != 255).flatten(2).any(2)
    assert annotated.sum(1).tolist() == [1, 5, 10]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(frames_per_clip=0), "frames_per_clip must be at least 1, or None for all frames, got 0"),
        (dict(mute_probability=1.5, train=True), r"mute_probability must be in \[0, 1\], got 1.5"),
        (dict(mute_probability=0.5), "need train=True"),
        (dict(augmentation=ClipAugmentation((8, 8))), "need train=True"),
        (dict(mixing=ClipMixing()), "need train=True"),
        (dict(num_labels=1), "num_labels must be at least 2, got 1"),
    ],
)
def test_arguments_are_checked(processor, arguments, message):
    with pytest.raises(ValueError, match=message):
        AussDataCollator(processor, **arguments)


def test_labels_are_resized_by_the_nearest_pixel():
    labels = torch.randint(0, 2, (2, 6, 4))
    assert resize_labels(labels, (6, 4)) is labels
    assert torch.equal(resize_labels(labels, (12, 8)), labels.repeat_interleave(2, 1).repeat_interleave(2, 2))
    labels = torch.randint(0, 2, (2, 6, 5))  # at the new sizes no centre falls between two pixels
    expected = torch.nn.functional.interpolate(labels[None].float(), size=(4, 14), mode="nearest-exact")[0].long()
    assert torch.equal(resize_labels(labels, (4, 14)), expected)
    assert resize_labels(labels, (4, 14)).dtype == torch.int64


def test_labels_are_resized_as_pillow_does_where_two_pixels_are_as_near():
    """The official code of AVSBench-semantic resizes 1280 columns to 224: every seventh centre lies on a border."""
    labels = (torch.arange(1280) % 251).expand(1, 2, 1280)
    picture = Image.fromarray(labels[0].to(torch.uint8).numpy()).resize((224, 2), Image.Resampling.NEAREST)
    resized = resize_labels(labels, (2, 224))
    assert torch.equal(resized[0], torch.from_numpy(np.array(picture)).long())
    nearest = torch.nn.functional.interpolate(labels[None].float(), size=(2, 224), mode="nearest-exact")[0].long()
    assert not torch.equal(resized, nearest)


def test_trainer_trains_on_it(processor, s4_root, tiny_model, tmp_path):
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(tmp_path / "run"),
        remove_unused_columns=False,
        max_steps=1,
        per_device_train_batch_size=2,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=tiny_model.train(),
        args=arguments,
        train_dataset=load_avsbench(s4_root, "s4", "train"),
        data_collator=AussDataCollator(processor, frames_per_clip=1, train=True),
    )
    assert math.isfinite(trainer.train().training_loss)


def test_mixed_clips_are_seen_and_heard_together(s4_root, monkeypatch):
    rows = SeededRows(load_avsbench(s4_root, "s4", "train"), seed=1)
    # The processor keeps the size of the frames, so masks are pasted unchanged.
    processor = AussProcessor(AussFeatureExtractor(), AussVideoProcessor(size={"height": 16, "width": 24}))
    options = {"train": True, "frames_per_clip": 1}
    plain = AussDataCollator(processor, **options)(list(rows))
    # Both objects have the same place, so one would cover the other. Move one of them.
    original = collator_module.decode_clip

    def moved(row, *arguments, **keywords):
        clip = original(row, *arguments, **keywords)
        return {**clip, "labels": clip["labels"].roll(12 * (clip["clip_id"] == "train_1"), -1)}

    monkeypatch.setattr(collator_module, "decode_clip", moved)
    mixed = AussDataCollator(processor, mixing=ClipMixing(1.0, 1.0), **options)(list(rows))
    assert mixed.keys() == plain.keys()
    masks = torch.stack([plain["labels"][0, 0], plain["labels"][1, 0].roll(12, -1)])
    assert torch.equal(mixed["labels"][:, 0], masks.sum(0).expand(2, -1, -1))
    for index in range(2):
        pasted = masks[1 - index].bool()
        frame, other = plain["pixel_values"][index, 0], plain["pixel_values"][1 - index, 0]
        torch.testing.assert_close(mixed["pixel_values"][index, 0], torch.where(pasted, other, frame))
    both = mix_log_mels(*plain["input_features"])
    torch.testing.assert_close(mixed["input_features"], both.expand(2, -1, -1, -1))
