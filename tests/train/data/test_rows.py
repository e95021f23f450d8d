import json
from collections import Counter

import pytest
import torch
from datasets import Dataset
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from auss.train.arguments import DataArguments, OptimArguments, RunArguments, differences, save_arguments
from auss.train.data.avsbench import load_avsbench
from auss.train.data.loaders import create_stream_loader, create_train_collator, create_train_loader
from auss.train.data.parquet_shards import stream_shards
from auss.train.data.parquet_writer import prepare_data_set
from auss.train.data.rows import SeededRows, SkippingCollator, StreamedRows, augmentation_seed
from auss.train.loop import train as train_module
from auss.train.loop.train import train

from ..conftest import make_s4


def make_rows(clips=16, shards=4, batch_size=2, **options):
    table = Dataset.from_dict({"clip_id": [f"clip {i:02}" for i in range(clips)], "category": ["dog"] * clips})
    return StreamedRows(table.to_iterable_dataset(num_shards=shards), clips, batch_size, **options)


def batches(rows, workers=0):
    """Returns the rows of an epoch, batch by batch, as a training process with `workers` workers gets them."""
    return list(DataLoader(rows, rows.batch_size, num_workers=workers, collate_fn=list))


def names(rows, workers=0):
    return [row["clip_id"] for batch in batches(rows, workers) for row in batch]


@pytest.mark.parametrize("processes, workers", [(1, 0), (1, 2), (2, 0), (2, 2)])
def test_processes_and_workers_share_an_epoch_without_a_clip_twice(processes, workers):
    shares = [names(make_rows(rank=rank, world_size=processes), workers) for rank in range(processes)]
    assert {len(share) for share in shares} == {16 // processes}
    assert sorted(sum(shares, [])) == sorted(names(make_rows()))
    assert len(set(sum(shares, []))) == 16


@pytest.mark.parametrize("workers", [0, 2])
def test_order_follows_from_seed_and_epoch(workers):
    orders = {}
    for seed in (0, 1):
        for epoch in (0, 1):
            rows = make_rows(seed=seed)
            rows.set_epoch(epoch)
            orders[seed, epoch] = names(rows, workers)
            assert names(rows, workers) == orders[seed, epoch]
    assert len({tuple(order) for order in orders.values()}) == 4
    assert {tuple(sorted(order)) for order in orders.values()} == {tuple(sorted(orders[0, 0]))}


def test_the_buffer_mixes_what_is_far_apart():
    """With one shard, a buffer of one clip does not change the order."""
    assert names(make_rows(shards=1, buffer_size=1)) == sorted(names(make_rows()))
    assert names(make_rows(shards=1, buffer_size=16)) != sorted(names(make_rows()))


def test_a_clips_seed_depends_on_seed_and_epoch_and_not_on_where_it_is_read():
    def seeds(workers=0, epoch=0, **options):
        rows = make_rows(**options)
        rows.set_epoch(epoch)
        return {row["clip_id"]: row["augmentation_seed"] for batch in batches(rows, workers) for row in batch}

    plain = seeds()
    assert len(set(plain.values())) == 16 and seeds(workers=2) == plain
    for other in (seeds(epoch=1), seeds(seed=1)):
        assert set(other.values()).isdisjoint(plain.values())


@pytest.mark.parametrize("processes, workers, clips, shards", [(2, 0, 7, 3), (2, 2, 9, 5), (1, 3, 7, 4), (2, 1, 2, 2)])
def test_uneven_shards_give_every_process_equally_many_full_batches(processes, workers, clips, shards):
    """Otherwise a process would wait for another for ever. A clip that comes again gets another augmentation."""
    options = {"clips": clips, "shards": shards, "batch_size": 2 * processes, "world_size": processes}
    for rank in range(processes):
        mine = batches(make_rows(rank=rank, **options), workers)
        assert [len(batch) for batch in mine] == [2] * max(1, clips // (2 * processes))
        seeds = Counter(row["augmentation_seed"] for batch in mine for row in batch)
        assert set(seeds.values()) == {1}


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("done", [1, 3, 8])
def test_skipped_batches_are_none_and_those_after_them_the_same(workers, done):
    rows = make_rows()
    whole = batches(rows, workers)
    rows.skip_batches(done)
    seen = []
    collator = SkippingCollator(lambda rows: seen.append(len(rows)) or rows)
    again = list(DataLoader(rows, rows.batch_size, num_workers=workers, collate_fn=collator))
    assert again == [None] * done + whole[done:]
    if not workers:  # the calls of the collator are only visible in its own process
        assert seen == [2] * (8 - done)


def test_shards_that_divide_evenly():
    rows = make_rows(shards=4, world_size=2)
    assert rows.num_shards == 2
    assert [rows.shares_evenly(workers) for workers in (0, 1, 2, 3)] == [True, True, True, False]


def test_more_workers_than_shards_are_refused():
    with pytest.raises(ValueError, match="workers must be at most the 1 shards of this process, got more"):
        batches(make_rows(shards=1), workers=2)


def test_processes_must_share_a_batch_evenly():
    with pytest.raises(ValueError, match=r"batch_size must be a multiple of the number of processes \(2\), got 3"):
        make_rows(batch_size=3, world_size=2)


def clips_of(batches):
    """Returns tensors by the name of the clip. A clip that comes twice fails."""
    clips = {}
    for batch in batches:
        tensors = {name: value for name, value in batch.items() if torch.is_tensor(value)}
        for index, clip_id in enumerate(batch["clip_id"]):
            assert clip_id not in clips
            clips[clip_id] = {name: value[index] for name, value in tensors.items()}
    return clips


def assert_same_clips(ours, theirs):
    assert ours.keys() == theirs.keys()
    for clip_id, tensors in theirs.items():
        assert ours[clip_id].keys() == tensors.keys() > {"pixel_values", "input_features", "labels"}
        assert [name for name, value in tensors.items() if not torch.equal(ours[clip_id][name], value)] == []


@pytest.fixture
def files_and_shards(tmp_path):
    """Makes sixteen clips with different pictures and sounds, as files and in four shards."""
    root = make_s4(tmp_path / "files", ("train",), clips=16)
    prepare_data_set(root, tmp_path / "parts", shards=4)
    return root, tmp_path / "parts"


@pytest.mark.parametrize(
    "processes, workers, buffer_size",
    [
        (1, 0, 16),
        (2, 2, 16),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((1, 0, 1), (1, 2, 1), (1, 2, 16), (2, 0, 1), (2, 0, 16), (2, 2, 1))
        ),
    ],
)
def test_an_epoch_of_the_stream_has_the_files_clips_with_the_same_tensors(
    files_and_shards, tiny_processor, processes, workers, buffer_size
):
    root, parts = files_and_shards
    data = DataArguments(str(root), batch_size=2, augment=False, workers=workers)
    from_files = create_train_loader(SeededRows(load_avsbench(root, "s4", "train")), tiny_processor, data, 2, seed=0)
    expected = clips_of(from_files)
    assert len(expected) == 16 and len({float(clip["input_features"].sum()) for clip in expected.values()}) == 16
    stream, num_clips = stream_shards(parts, "s4", "train")
    for epoch in range(2):
        batches = []
        for rank in range(processes):
            rows = StreamedRows(stream, num_clips, 2, buffer_size=buffer_size, rank=rank, world_size=processes)
            loader = create_stream_loader(rows, tiny_processor, data, 2, seed=0)
            rows.set_epoch(epoch)
            batches += list(loader)
        assert len(batches) == 8 * processes
        assert_same_clips(clips_of(batches), expected)


def test_with_the_same_seed_a_clip_of_the_stream_is_augmented_as_that_of_the_files(files_and_shards, tiny_processor):
    root, parts = files_and_shards
    collator = create_train_collator(tiny_processor, DataArguments(str(root), mute_probability=0.3), 2)
    from_files = {row["clip_id"]: row for row in SeededRows(load_avsbench(root, "s4", "train"))}
    seen = set()
    for row in StreamedRows(*stream_shards(parts, "s4", "train"), 1):
        same = from_files[row["clip_id"]] | {"augmentation_seed": row["augmentation_seed"]}
        ours, other = collator([row]), collator([same | {"augmentation_seed": row["augmentation_seed"] + 1}])
        assert_same_clips(clips_of([ours]), clips_of([collator([same])]))
        assert not torch.equal(ours["pixel_values"], other["pixel_values"])
        seen.add(row["clip_id"])
    assert len(seen) == 16


@pytest.fixture
def streamed_root(tmp_path):
    """Makes seven clips for training in four shards."""
    prepare_data_set(make_s4(tmp_path / "avsbench", ("train", "val"), clips=7), tmp_path / "shards", shards=4)
    return tmp_path / "shards"


@pytest.fixture
def run_streamed(streamed_root, tiny_preset, tmp_path):
    def run(output, **options):
        data = DataArguments(
            str(streamed_root),
            batch_size=2,
            image_size=32,
            streaming=True,
            shuffle_buffer=3,
            workers=options.pop("workers", 0),
        )
        optim = OptimArguments(steps=8, learning_rate=1e-3)
        return train(
            data,
            optim,
            RunArguments(
                str(tmp_path / output),
                preset=tiny_preset,
                log_every=1,
                **{"checkpoint_every": 2, "eval_every": 0, **options},
            ),
        )

    return run


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_and_resumed_streaming_run_ends_in_the_same_bits(run_streamed, tmp_path, monkeypatch, workers):
    """The run is stopped at the third batch of the second epoch, and resumes from its second batch."""
    run_streamed("straight", workers=workers)
    whole_step = train_module.train_step

    def stopping_step(training, batch):
        if training.position.step == 5:
            raise KeyboardInterrupt
        whole_step(training, batch)

    with monkeypatch.context() as patch:
        patch.setattr(train_module, "train_step", stopping_step)
        with pytest.raises(KeyboardInterrupt):
            run_streamed("stopped", workers=workers)
    run_streamed("stopped", workers=workers, resume=True)
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("straight", "stopped"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (tmp_path / "straight/history.json").read_text() == (tmp_path / "stopped/history.json").read_text()


@pytest.mark.parametrize("streaming, expected", [(True, {"workers": (2, 1)}), (False, {})])
def test_another_number_of_workers_is_another_run_of_a_stream(tmp_path, streaming, expected):
    first, second = (
        (DataArguments("d", streaming=streaming, workers=workers), OptimArguments(), RunArguments("o"))
        for workers in (2, 1)
    )
    save_arguments(first, tmp_path / "arguments.json")
    assert differences(second, tmp_path / "arguments.json") == expected


def test_validation_reads_the_shards_too(run_streamed):
    history = run_streamed("run", eval_every=4, checkpoint_every=8)
    assert [entry["step"] for entry in history if "validation_M_J" in entry] == [4, 8]


def test_a_streaming_run_trains_as_one_on_the_files(files_and_shards, make_config, tmp_path):
    """
    A step takes all clips, so their order in the step does not matter. float32 sums the same numbers in another order.
    AQDL and AQML are off, because a rounding error can change their set of confident queries.
    """
    root, parts = files_and_shards
    preset = tmp_path / "preset.json"
    make_config(aqdl_weight=0.0, aqml_weight=0.0).to_json_file(preset, use_diff=False)
    losses = []
    for source, streaming in ((root, False), (parts, False), (parts, True)):
        data = DataArguments(
            str(source), batch_size=16, image_size=32, augment=False, streaming=streaming, shuffle_buffer=1, workers=0
        )
        run = RunArguments(str(tmp_path / f"run-{len(losses)}"), preset=str(preset), log_every=1, eval_every=0)
        history = train(data, OptimArguments(steps=4, learning_rate=1e-3), run)
        losses.append([entry["losses"] for entry in history])
    assert losses[0][0]["loss"] != losses[0][3]["loss"]
    for other in losses[1:]:
        for expected, found in zip(losses[0], other, strict=True):
            assert found == pytest.approx(expected, rel=5e-5, abs=1e-6)


@pytest.mark.slow
def test_two_processes_train_on_a_stream(streamed_root, in_two_processes, tiny_preset, tmp_path):
    """Seven clips give three batches of two in each epoch. No process waits for the other at the end."""
    options = ["--data", str(streamed_root), "--streaming", "--preset", tiny_preset, "--output", str(tmp_path / "run")]
    options += ["--steps", "7", "--batch-size", "2", "--image-size", "32", "--workers", "2", "--log-every", "1"]
    assert in_two_processes("train", *options).count("validation M_J") == 1
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [entry["epoch"] for entry in history if "losses" in entry] == [0, 0, 0, 1, 1, 1, 2]


def seeds(rows):
    return [rows[index]["augmentation_seed"] for index in range(len(rows))]


def test_seeds_depend_on_seed_epoch_and_index_and_nothing_else():
    parts = [(seed, epoch, index) for seed in range(4) for epoch in range(4) for index in range(4)]
    values = [augmentation_seed(*part) for part in parts]
    assert len(set(values)) == len(parts) and all(0 <= value < 2**63 for value in values)
    assert values == [augmentation_seed(*part) for part in parts]


def test_epochs_change_the_seeds_and_come_back(s4_root):
    rows = SeededRows(load_avsbench(s4_root, "s4", "train"), seed=3)
    first = seeds(rows)
    rows.set_epoch(1)
    assert rows.epoch == 1 and set(seeds(rows)).isdisjoint(first)
    rows.set_epoch(0)
    assert seeds(rows) == first
    assert set(seeds(SeededRows(rows.dataset, seed=4))).isdisjoint(first)


def test_rows_are_read_without_opening_pictures(s4_root, monkeypatch):
    dataset = load_avsbench(s4_root, "s4", "train")
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("a picture was opened"))
    row = SeededRows(dataset)[1]
    assert row["clip_id"] == "train_1" and row["annotated_frames"] == [0]
    assert row["frames"][4]["path"].endswith("train_1_5.png") and row["frames"][4]["bytes"] is None
    with pytest.raises(pytest.fail.Exception):
        dataset[1]  # the data set itself would open the pictures


def test_any_sequence_of_dicts_is_wrapped_and_left_as_it_was():
    plain = [{"clip_id": "a"}, {"clip_id": "b"}]
    rows = SeededRows(plain)
    assert rows[1]["clip_id"] == "b" and "augmentation_seed" in rows[1]
    assert plain == [{"clip_id": "a"}, {"clip_id": "b"}]


def test_the_end_is_an_index_error():
    rows = SeededRows([{"clip_id": "a"}])
    assert len(list(rows)) == 1
    with pytest.raises(IndexError, match="index must be 0 to 0, got -1"):
        rows[-1]


def test_precomputed_features_come_with_their_row():
    features, mask = torch.arange(2.0)[:, None], torch.ones(2, 1)
    row = SeededRows([{}, {}], input_features=(features, mask))[1]
    assert row["input_features"].tolist() == [1.0] and row["input_features_mask"].tolist() == [1.0]
    with pytest.raises(ValueError, match=r"input_features must be a pair of 3 rows, got \[2, 2\]"):
        SeededRows([{}, {}, {}], input_features=(features, mask))


def test_negative_numbers_are_refused():
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        SeededRows([], seed=-1)
    with pytest.raises(ValueError, match="epoch must be 0 or more, got -2"):
        SeededRows([]).set_epoch(-2)


@pytest.mark.parametrize("workers", [0, 1])
def test_workers_that_live_on_see_the_epoch(workers):
    rows = SeededRows([{}, {}, {}])
    loader = DataLoader(
        rows,
        batch_size=None,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    for epoch in range(3):
        rows.set_epoch(epoch)
        assert [row["augmentation_seed"] for row in loader] == [augmentation_seed(0, epoch, i) for i in range(3)]
