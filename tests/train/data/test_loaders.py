import logging

import pytest
import torch
from accelerate import Accelerator, PartialState

from auss.train.arguments import DataArguments, RunArguments
from auss.train.data import loaders
from auss.train.data.avsbench import load_avsbench
from auss.train.data.loaders import (
    create_eval_loader,
    create_stream_loader,
    create_train_collator,
    create_train_loader,
    create_validation_loader,
    open_stream,
    worker_count,
)
from auss.train.data.parquet_writer import prepare_data_set
from auss.train.data.rows import SeededRows
from auss.train.loop.preparation import create_processor


@pytest.fixture
def processor(tiny_config):
    return create_processor(tiny_config, 32)


def test_train_batches_are_augmented_and_of_the_networks_size(s4_root, processor):
    rows = SeededRows(load_avsbench(s4_root, "s4", "train"))
    data = DataArguments(str(s4_root), batch_size=2, frames_per_clip=1, workers=0)
    plain, augmented = (
        next(iter(create_train_loader(rows, processor, DataArguments(**{**vars(data), "augment": augment}), 2, 0)))
        for augment in (False, True)
    )
    for batch in (plain, augmented):
        assert batch["pixel_values"].shape == (2, 1, 3, 32, 32) and batch["labels"].shape == (2, 1, 32, 32)
        assert sorted(batch["clip_id"]) == ["train_0", "train_1"]
    assert not torch.equal(plain["pixel_values"], augmented["pixel_values"])


def test_weaker_jitter_changes_pictures_less(s4_root, processor):
    """Without jitter of scale and colours a batch holds the same pictures, some of them mirrored."""
    rows = SeededRows(load_avsbench(s4_root, "s4", "train"))
    variants = ({"augment": False}, {"scale_jitter": 1.0, "colour_jitter": 0.0}, {})
    arguments = [DataArguments(str(s4_root), batch_size=2, workers=0, **variant) for variant in variants]
    batches = [next(iter(create_train_loader(rows, processor, one, 2, 0))) for one in arguments]
    plain, still, jittered = (batch["pixel_values"].sort(dim=-1).values for batch in batches)
    torch.testing.assert_close(still, plain, rtol=0, atol=0.05)
    assert (jittered - plain).abs().mean() > 0.2


@pytest.fixture
def streaming(s4_root, tmp_path):
    """Makes the arguments for a stream of two clips in two shards."""

    def make(**options):
        if not (tmp_path / "shards").exists():
            prepare_data_set(s4_root, tmp_path / "shards")
        return DataArguments(str(tmp_path / "shards"), **{"batch_size": 2, "streaming": True, "workers": 0, **options})

    return make


def test_a_streams_batches_are_those_of_the_files(s4_root, processor, streaming):
    """The batches may only differ in their order."""
    data = streaming(augment=False)
    files = create_train_loader(SeededRows(load_avsbench(s4_root, "s4", "train")), processor, data, 2, 0)
    stream = create_stream_loader(open_stream(data, 0), processor, data, 2, 0)
    (from_files,), (from_stream,) = list(files), list(stream)
    assert from_files.keys() == from_stream.keys()
    order = [from_stream["clip_id"].index(clip) for clip in from_files["clip_id"]]
    for name in ("pixel_values", "labels", "input_features", "input_features_mask", "frame_examples"):
        assert torch.equal(from_stream[name][order], from_files[name]), name


def test_the_accelerator_does_not_share_a_stream_out_again(processor, streaming):
    loader = create_stream_loader(open_stream(streaming(), 0), processor, streaming(), 2, 0)
    assert Accelerator().prepare(loader) is loader


@pytest.mark.parametrize(
    "workers, kept, message",
    [
        (3, 2, "2 workers, since there are no more shards for a process"),
        (2, 2, ""),
        (1, 1, ""),
        (0, 0, ""),
    ],
)
def test_workers_are_at_most_the_shards_of_the_process(processor, streaming, caplog, workers, kept, message):
    data = streaming(workers=workers)
    with caplog.at_level(logging.WARNING, "auss"):
        loader = create_stream_loader(open_stream(data, 0), processor, data, 2, 0)
    assert loader.num_workers == kept
    assert message in caplog.text and (message or not caplog.text)


def test_shards_that_do_not_divide_are_told(processor, streaming, caplog):
    data = streaming(batch_size=3)
    rows = open_stream(data, 0)
    rows.world_size = 3
    with caplog.at_level(logging.WARNING, "auss"):
        create_stream_loader(rows, processor, data, 2, 0)
    assert "2 shards do not divide by 3 processes of 1 workers: in an epoch clips can come twice" in caplog.text


@pytest.mark.parametrize("batch_size, batches", [(1, 3), (2, 1), (3, 1), (4, 1)])
def test_only_a_data_set_smaller_than_a_batch_gives_a_batch_that_is_not_full(processor, batch_size, batches):
    loader = create_train_loader(range(3), processor, DataArguments("d", batch_size=batch_size, workers=0), 2, 0)
    assert len(loader) == batches


def test_several_processes_share_no_batch_that_is_not_full(processor, monkeypatch):
    data = DataArguments("d", batch_size=4, workers=0)
    assert len(create_train_loader(range(3), processor, data, 2, 0)) == 1
    monkeypatch.setitem(PartialState._shared_state, "num_processes", 2)
    with pytest.raises(ValueError, match="batch_size must be at most the number of training clips, 3, .* got 4"):
        create_train_loader(range(3), processor, data, 2, 0)
    assert len(create_train_loader(range(4), processor, data, 2, 0)) == 1


def test_muted_evaluation_silences_the_sound_and_keeps_the_labels(s4_root, processor):
    rows = SeededRows(load_avsbench(s4_root, "s4", "test"))
    own, muted = (next(iter(create_eval_loader(rows, processor, 2, 2, 0, muted=muted))) for muted in (False, True))
    assert own["labels"].shape == (2, 5, 16, 24)
    assert torch.equal(own["labels"], muted["labels"]) and torch.equal(own["pixel_values"], muted["pixel_values"])
    assert own["input_features"].std() > 0.1 and muted["input_features"].unique().numel() == 1


@pytest.mark.parametrize("accelerator, expected", [(True, 4), (False, 0)])
def test_workers_are_chosen_by_the_machine_unless_told(monkeypatch, accelerator, expected):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator)
    assert worker_count(None) == expected
    assert worker_count(1) == 1


@pytest.mark.parametrize(
    ("batch_size", "workers", "name"), [(0, 0, "batch_size"), (-1, 0, "batch_size"), (1, -1, "workers")]
)
def test_counts_that_are_none_are_named(s4_root, processor, batch_size, workers, name):
    rows = SeededRows(load_avsbench(s4_root, "s4", "test"))
    with pytest.raises(ValueError, match=f"{name} must be at least"):
        create_eval_loader(rows, processor, 2, batch_size, workers)


def test_validation_looks_at_evenly_spread_clips(processor, s4_root, monkeypatch):
    monkeypatch.setattr(loaders, "load_avsbench", lambda *_: [{"clip_id": str(index)} for index in range(10)])
    data = DataArguments(str(s4_root), cache_sounds=False)
    loader = create_validation_loader(data, RunArguments("o", eval_clips=4), processor, 2)
    assert [row["clip_id"] for row in loader.dataset] == ["0", "2", "5", "7"]
    assert create_validation_loader(data, RunArguments("o", eval_every=0), processor, 2) is None


@pytest.mark.parametrize("probability", [0.0, 0.4])
def test_clips_are_mixed_if_the_data_arguments_say_so(processor, s4_root, probability):
    data = DataArguments(str(s4_root), paste_probability=probability, paste_sound_share=0.25)
    mixing = create_train_collator(processor, data, 2).mixing
    assert (mixing.paste, mixing.heard) == (0.4, 0.25) if probability else mixing is None
